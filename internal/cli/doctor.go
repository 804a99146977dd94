package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"crabbox/internal/crew"
	"crabbox/internal/doctor"
	"crabbox/internal/fault"
)

func (a *app) doctorCommand() *cobra.Command {
	var filter crew.Filter
	var fix bool
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Find out what is wrong and what to do about it",
		Args:  between(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkFilter(cmd, &filter); err != nil {
				return err
			}
			return a.doctor(cmd.Context(), doctor.Request{Crew: filter.Crew, Provider: filter.Provider, Fix: fix})
		},
	}
	cmd.Flags().StringVar(&filter.Crew, "crew", "", "look at this crew's members too")
	cmd.Flags().StringVar(&filter.Provider, "provider", "", "only this provider and its boxes")
	cmd.Flags().BoolVar(&fix, "fix", false, "mend what can be mended without losing anything")
	a.completeFlags(cmd)
	a.jsonFlag(cmd, "print the findings as JSON")
	return cmd
}

func (a *app) doctor(ctx context.Context, r doctor.Request) error {
	h, err := a.open()
	if err != nil {
		return err // it says what is wrong with the settings or the home, and what to do
	}
	results := doctor.Examine(ctx, doctor.Surroundings{
		Config: h.config, Store: h.store, Keeper: h.keeper, Login: h.login,
		Providers: a.providers, Agent: a.agentOptions(h),
	}, r)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if a.out.json {
		if err := a.out.document(results); err != nil {
			return err
		}
	} else {
		a.showFindings(results)
	}
	if !doctor.Healthy(results) {
		return fault.New(fault.Failed, "", "not everything is in order")
	}
	return nil
}

var findingTones = map[doctor.Finding]tone{doctor.OK: good, doctor.Warn: doubt, doctor.Fail: bad, doctor.Skip: faint}

func (a *app) showFindings(results []doctor.Result) {
	t := &table{head: []string{"", "CHECK", "FINDING"}}
	for _, r := range results {
		t.row(cell{string(r.Finding), findingTones[r.Finding]}, strings.TrimSpace(r.Code+" "+r.Subject), r.Detail)
		if r.Fixed != "" {
			t.row(cell{}, cell{}, "fixed: "+r.Fixed)
		} else if r.Remedy != "" && r.Finding != doctor.OK {
			t.row(cell{}, cell{}, "-> "+r.Remedy)
		}
	}
	a.out.table(t)
}
