// Package all is the explicit list of providers, one line each. It does nothing
// else: a provider that is not in this list does not exist.
package all

import (
	"crabbox/internal/provider"
	"crabbox/internal/provider/local"
	"crabbox/internal/provider/static"
)

// Registry lists every provider, the ones that need nothing first.
func Registry() provider.Registry {
	return provider.Registry{
		local.Descriptor(),
		static.Descriptor(),
	}
}

// Main runs the processes that providers start out of this program, such as a
// local box. handled is false for a command that a person typed.
func Main(args []string) (code int, handled bool) {
	return local.Main(args)
}
