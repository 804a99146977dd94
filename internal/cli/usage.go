package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// flagFault turns a mistake in the flags into wrong usage, with the nearest
// flag that exists.
func flagFault(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() && cmd.Flags().NArg() > 0 {
		// The flag belongs to a command that does not exist, which is the mistake.
		return onlySubcommands(cmd, cmd.Flags().Args())
	}
	remedy := cmd.CommandPath() + " --help lists the flags."
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok && invalid.GetFlag().Value.Type() == "duration" {
		remedy = "Write a duration such as 90m or 8h."
	}
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				known = append(known, f.Name)
			}
		})
		if near := provider.Nearest(unknown.GetSpecifiedName(), known); near != "" {
			remedy = "Did you mean --" + near + "? " + remedy
		} else if cmd.Name() == "run" || cmd.Name() == "ssh" {
			remedy = "Put -- before a command that has flags of its own. " + remedy
		}
	}
	return fault.New(fault.Usage, remedy, "%w", err)
}

// between accepts that many arguments; words names them for the message.
func between(least, most int, words string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		remedy := "Usage: " + cmd.CommandPath() + strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath())
		switch {
		case len(args) < least:
			return fault.New(fault.Usage, remedy, "%s: %s is missing", cmd.CommandPath(), words)
		case most == 0 && len(args) > 0:
			return fault.New(fault.Usage, remedy, "%s takes no arguments, and got %q", cmd.CommandPath(), args[0])
		case most >= 0 && len(args) > most:
			return fault.New(fault.Usage, remedy, "%s: %q is one argument too many", cmd.CommandPath(), args[most])
		}
		return nil
	}
}

// notEmpty refuses a flag that was given an empty value, which comes from an
// empty shell variable and would otherwise mean what leaving the flag out means.
func notEmpty(cmd *cobra.Command, flag string) error {
	if f := cmd.Flags().Lookup(flag); f.Changed && f.Value.String() == "" {
		return fault.New(fault.Usage, "Give it a value, or leave it out.", "--%s is empty", flag)
	}
	return nil
}

// checkNames refuses names that were typed and are not names; an empty one
// counts as typed, since it comes from an empty shell variable.
func checkNames(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		f := cmd.Flags().Lookup(name)
		if f == nil || !f.Changed {
			continue
		}
		if err := box.CheckName(name, f.Value.String()); err != nil {
			return err
		}
	}
	return nil
}

// pairs reads KEY=VALUE arguments of a flag; a key that is named twice is wrong usage.
func pairs(flag string, args []string) (map[string]string, error) {
	result := map[string]string{}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, fault.New(fault.Usage, fmt.Sprintf("Write it as %s KEY=VALUE.", flag), "%s %q is not KEY=VALUE", flag, arg)
		}
		if _, twice := result[key]; twice {
			return nil, fault.New(fault.Usage, "Name each key once.", "%s %s is given twice", flag, key)
		}
		result[key] = value
	}
	return result, nil
}
