//go:build linux

package local

import (
	"testing"

	"crabbox/internal/provider"
	"crabbox/internal/provider/providertest"
)

// TestSuite measures both kinds of box by what every provider promises.
func TestSuite(t *testing.T) {
	both(t, func(t *testing.T, options provider.Options) {
		s := settings(t)
		s.Options = options
		providertest.Run(t, providertest.Harness{
			Descriptor: Descriptor(),
			New:        func(t *testing.T) provider.Provider { return newProvider(t, s) },
		})
	})
}
