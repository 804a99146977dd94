// Package crabbox is the map of the house; it holds no code.
//
// A person types a command (cli). Commands that concern boxes go to crew, which
// asks a provider and remembers in store. Commands that concern connections go
// through agent/client to the agent, the one background process, which turns the
// wanted crews into the mesh's peers.
//
//	cmd/crabbox     main: signals, the list of providers, cli.Main, exit
//	bench           the mesh measured against ssh -L
//	internal/
//	  box           vocabulary: boxes, ports, endpoints, labels, names
//	  fault         how every room says what went wrong and what to do
//	  provider      the interface to those who lend boxes, and its description as data
//	    all           the list of providers
//	    providertest  the conformance suite, and a provider in memory
//	    local         boxes on this machine
//	    static        provider "ssh": hosts that exist already
//	  sshbox        the SSH server inside a local box
//	    sshboxtest    the same, started for a test
//	  sshdtest      a real OpenSSH server for tests
//	  nstest        whether tests can have namespaces here
//	  netlab        a small network of namespaces for tests
//	  mesh          the engine: links, forwards, healing
//	    meshtest      an SSH box in memory that can be cut, frozen and slowed
//	  login         from an endpoint to an SSH connection: dialling, keys, host keys
//	  session       one command on a box: streams, terminal, signals, exit code
//	  crew          the life of boxes: warm up, find, release
//	  workspace     the working tree on its way to a box
//	  agent         the background process
//	    api           what travels on its socket
//	    client        how a command talks to it
//	  doctor        checks, findings, remedies
//	  store         what we remember on disk
//	  config        the user's settings
//	  cli           one file per command
//
// arch_test.go says who may import whom; docs/architecture.md follows four
// routes through these rooms by function name.
package crabbox
