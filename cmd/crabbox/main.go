// Command crabbox leases throw-away boxes, groups them in a crew and makes
// their ports usable here, over SSH only.
package main

import (
	"context"
	"os"

	"crabbox/internal/cli"
	"crabbox/internal/provider/all"
)

// version is set at link time: -ldflags "-X main.version=...".
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	if code, handled := all.Main(os.Args[1:]); handled {
		return code
	}
	return cli.Main(context.Background(), cli.System(), os.Args[1:], all.Registry(), version)
}
