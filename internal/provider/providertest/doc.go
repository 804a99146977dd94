// Package providertest holds what every provider is measured by: a conformance
// suite (Run), and a true provider in memory (Mem) that other rooms test with
// and that can be made to fail.
//
// It is test support: nothing that ships imports it.
package providertest
