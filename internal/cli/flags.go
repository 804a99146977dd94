package cli

import (
	"github.com/spf13/cobra"

	"crabbox/internal/crew"
)

// jsonFlag gives a command --json. The printer knows already whether it was
// given (see wantsJSON); the flag is for help and completion.
func (a *app) jsonFlag(cmd *cobra.Command, help string) {
	cmd.Flags().BoolVar(&a.out.json, "json", a.out.json, help)
	cmd.Flags().Lookup("json").DefValue = "false"
}

// filterFlags select leases.
func (a *app) filterFlags(cmd *cobra.Command, f *crew.Filter) {
	cmd.Flags().StringVar(&f.Crew, "crew", "", "only this crew's boxes")
	cmd.Flags().StringVar(&f.Provider, "provider", "", "only this provider's boxes")
	a.completeFlags(cmd)
}

// checkFilter refuses selectors that can never match, and turns a provider's
// alias into its name.
func (a *app) checkFilter(cmd *cobra.Command, f *crew.Filter) error {
	if err := checkNames(cmd, "crew"); err != nil {
		return err
	}
	if cmd.Flags().Changed("provider") {
		d, err := a.providers.Find(f.Provider)
		if err != nil {
			return err
		}
		f.Provider = d.Name
	}
	return nil
}
