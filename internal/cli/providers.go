package cli

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

func (a *app) providersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "providers [NAME]",
		Short: "Show who lends boxes, what each can do and what it needs",
		Args:  between(0, 1, "a provider"),
		ValidArgsFunction: func(cmd *cobra.Command, given []string, part string) ([]string, cobra.ShellCompDirective) {
			if len(given) > 0 {
				return nil, noFiles
			}
			return a.completeProviders(cmd, given, part)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listProviders(cmd.Context())
			}
			return a.showProvider(cmd.Context(), args[0])
		},
	}
	a.jsonFlag(cmd, "print the providers as JSON")
	return cmd
}

// providerView is a provider as --json shows it.
type providerView struct {
	Name    string             `json:"name"`
	Aliases []string           `json:"aliases,omitempty"`
	Summary string             `json:"summary"`
	Ready   bool               `json:"ready"`
	Note    string             `json:"note,omitempty"`
	Missing string             `json:"missing,omitempty"`
	Remedy  string             `json:"remedy,omitempty"`
	Can     provider.Abilities `json:"can"`
	Options []optionView       `json:"options"`
}

type optionView struct {
	Name       string   `json:"name"`
	Help       string   `json:"help"`
	Default    string   `json:"default,omitempty"`
	Values     []string `json:"values,omitempty"`
	Secret     bool     `json:"secret,omitempty"`
	List       bool     `json:"list,omitempty"`
	ConfigOnly bool     `json:"config_only,omitempty"`
	Env        string   `json:"env"`
}

// describe asks the provider whether it can be used here; that spends nothing.
func (a *app) describe(ctx context.Context, d provider.Descriptor) providerView {
	v := providerView{Name: d.Name, Aliases: d.Aliases, Summary: d.Summary, Can: d.Can, Options: []optionView{}}
	for _, o := range d.Options {
		shown := optionView{o.Name, o.Help, o.Default, o.Values, o.Secret, o.List, o.ConfigOnly, provider.EnvName(d.Name, o.Name)}
		if o.Secret {
			shown.Default = ""
		}
		v.Options = append(v.Options, shown)
	}
	note, err := a.ready(ctx, d)
	v.Ready, v.Note = err == nil, note
	if err != nil {
		v.Missing, v.Remedy = err.Error(), fault.RemedyOf(err)
	}
	return v
}

func (a *app) ready(ctx context.Context, d provider.Descriptor) (note string, err error) {
	h, err := a.open()
	if err != nil {
		return "", err
	}
	settings, err := h.config.Settings(d)
	if err != nil || d.Ready == nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return d.Ready(ctx, settings)
}

func (a *app) listProviders(ctx context.Context) error {
	views := make([]providerView, len(a.providers))
	var all sync.WaitGroup
	for i, d := range a.providers {
		all.Go(func() { views[i] = a.describe(ctx, d) })
	}
	all.Wait()
	if a.out.json {
		return a.out.document(views)
	}
	t := &table{head: []string{"PROVIDER", "READY", "WHAT IT IS", "REMARK"}}
	for _, v := range views {
		t.row(v.Name, v.readyCell(), v.Summary, cmp.Or(v.Missing, v.Note))
	}
	a.out.table(t)
	return nil
}

func (v providerView) readyCell() cell {
	if v.Ready {
		return cell{"yes", good}
	}
	return cell{"no", bad}
}

func (a *app) showProvider(ctx context.Context, name string) error {
	d, err := a.providers.Find(name)
	if err != nil {
		return err
	}
	v := a.describe(ctx, d)
	if a.out.json {
		return a.out.document(v)
	}
	a.out.facts(
		[2]string{"provider", v.Name},
		[2]string{"also", strings.Join(v.Aliases, ", ")},
		[2]string{"what", v.Summary},
		[2]string{"ready", v.readyCell().text},
		[2]string{"missing", v.Missing},
		[2]string{"remedy", v.Remedy},
		[2]string{"note", v.Note},
		[2]string{"can", abilities(d.Can)},
	)
	if len(v.Options) == 0 {
		return nil
	}
	a.out.raw("\n")
	t := &table{head: []string{"OPTION", "DEFAULT", "WHAT IT DOES", "HOW TO SET IT"}}
	for _, o := range v.Options {
		help := o.Help
		if len(o.Values) > 0 {
			help += " (" + strings.Join(o.Values, " or ") + ")"
		}
		how := "-o " + o.Name + "=..., config.yaml or " + o.Env
		if o.Secret || o.ConfigOnly {
			how = "config.yaml or " + o.Env
		}
		t.row(o.Name, o.Default, help, how)
	}
	a.out.table(t)
	return nil
}

func abilities(can provider.Abilities) string {
	words := []string{"labels " + string(can.Labels)}
	for _, ability := range []struct {
		has  bool
		word string
	}{
		{can.Owned, "makes and destroys machines"},
		{!can.Owned, "uses machines that stay"},
		{can.TTL, "boxes end by themselves"},
		{can.HostKey, "host key known before the first contact"},
		{can.Sizes, "sizes, images and regions"},
		{can.Tailscale, "can join a tailnet"},
	} {
		if ability.has {
			words = append(words, ability.word)
		}
	}
	return strings.Join(words, "; ")
}
