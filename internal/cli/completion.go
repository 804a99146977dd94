package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"crabbox/internal/fault"
	"crabbox/internal/store"
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the completion script of a shell",
		Example: `  source <(crabbox completion bash)
  crabbox completion zsh > "${fpath[1]}/_crabbox"`,
		Args:      between(1, 1, "the shell"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), a.io.Out
			switch args[0] {
			case "bash":
				if err := a.out.raw(bashStandIn); err != nil {
					return err
				}
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return fault.New(fault.Usage, "Known shells: "+strings.Join(shells, ", ")+".", "there is no completion for %q", args[0])
		},
	}
}

// bashStandIn does for cobra's script what the package bash-completion does
// where it is installed: it puts the words together again that readline has
// split at = and :.
const bashStandIn = `if ! declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref() {
        local rest=$COMP_LINE gap word i
        words=() cword=0
        for i in "${!COMP_WORDS[@]}"; do
            word=${COMP_WORDS[i]}
            gap=${rest%%[![:space:]]*}
            rest=${rest#"$gap"}
            rest=${rest#"$word"}
            if [[ $i -eq 0 || -n $gap ]]; then
                words+=("$word")
            else
                words[${#words[@]}-1]+=$word
            fi
            if [[ $i -eq $COMP_CWORD ]]; then
                cword=$((${#words[@]} - 1))
            fi
        done
        cur=${words[cword]}
        prev=${words[cword > 0 ? cword - 1 : 0]}
    }
fi
`

// completeFlags gives the flags of this command that name live things their
// completion.
func (a *app) completeFlags(cmd *cobra.Command) {
	for flag, complete := range map[string]cobra.CompletionFunc{
		"provider": a.completeProviders,
		"crew":     a.completeCrews,
		"option":   a.completeOptions,
		"id":       a.completeFirstLease,
	} {
		if f := cmd.Flags().Lookup(flag); f != nil {
			if _, exists := cmd.GetFlagCompletionFunc(flag); !exists {
				_ = cmd.RegisterFlagCompletionFunc(flag, complete)
			}
		}
	}
}

const noFiles = cobra.ShellCompDirectiveNoFileComp

// remembered are the leases on disk; completion asks nobody else, and stays
// silent about trouble.
func (a *app) remembered() []store.Lease {
	h, err := a.open()
	if err != nil {
		return nil
	}
	leases, _, err := h.store.Leases()
	if err != nil {
		return nil
	}
	return leases
}

func (a *app) completeLeases(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, l := range a.remembered() {
		if !slices.Contains(given, l.Box.Slug) {
			names = append(names, cleaned("%s\t%s %s", l.Box.Slug, string(l.Box.ID), l.Box.Crew))
		}
	}
	return names, noFiles
}

func (a *app) completeFirstLease(cmd *cobra.Command, given []string, part string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 && cmd.Name() == "ssh" {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return a.completeLeases(cmd, nil, part)
}

func (a *app) completeCrews(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, l := range a.remembered() {
		if l.Box.Crew != "" && !slices.Contains(names, l.Box.Crew) {
			names = append(names, l.Box.Crew)
		}
	}
	return names, noFiles
}

func (a *app) completeProviders(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, d := range a.providers {
		names = append(names, d.Name+"\t"+d.Summary)
	}
	return names, noFiles
}

// completeOptions offers the options of the provider named on the line so far.
func (a *app) completeOptions(cmd *cobra.Command, _ []string, part string) ([]string, cobra.ShellCompDirective) {
	name, _ := cmd.Flags().GetString("provider")
	if h, err := a.open(); name == "" && err == nil {
		name = h.config.Provider
	}
	d, err := a.providers.Find(name)
	if err != nil {
		return nil, noFiles
	}
	var words []string
	for _, o := range d.Options {
		if o.Secret || o.ConfigOnly {
			continue
		}
		if len(o.Values) > 0 && strings.HasPrefix(part, o.Name+"=") {
			for _, v := range o.Values {
				words = append(words, o.Name+"="+v)
			}
			continue
		}
		words = append(words, o.Name+"=\t"+o.Help)
	}
	return words, noFiles | cobra.ShellCompDirectiveNoSpace
}
