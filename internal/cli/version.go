package cli

import (
	"runtime"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  between(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			if a.out.json {
				return a.out.document(map[string]string{"version": a.version, "go": runtime.Version(), "system": runtime.GOOS + "/" + runtime.GOARCH})
			}
			a.out.line("%s", a.versionLine())
			return nil
		},
	}
	a.jsonFlag(cmd, "print the version as JSON")
	return cmd
}

func (a *app) versionLine() string {
	return "crabbox " + a.version + " (" + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")"
}
