// Package cli is the command line: one file per command, printing, questions
// and exit codes. It makes no decisions about boxes or bytes; package crew, the
// agent and package doctor do.
//
// stdout is for data, stderr for talk. With --json both carry JSON only: one
// document on stdout, one object per line on stderr.
package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// IO is all that a run of the program has of its surroundings.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	// Signals are the signals sent to this process; nil: none.
	Signals <-chan os.Signal
	// Executable is the path of the running program.
	Executable string
}

// System is the IO of a real process. It takes over the process's signals.
func System() IO {
	received := make(chan os.Signal, 8)
	signal.Notify(received, caught...)
	executable, err := os.Executable()
	if err != nil {
		executable = os.Args[0]
	}
	return IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Signals: received, Executable: executable}
}

// Main runs one command and returns the program's exit code.
func Main(ctx context.Context, streams IO, args []string, providers provider.Registry, version string) int {
	a := &app{
		io:        streams,
		out:       newPrinter(streams, wantsJSON(args)),
		providers: providers,
		version:   version,
	}
	ctx, end := a.watchSignals(ctx)
	defer end()
	root := a.root()
	root.SetArgs(append([]string{}, args...))
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = a.out.complete()
	}
	if err != nil && ctx.Err() != nil {
		err = interrupted{err}
	}
	a.out.failure(err)
	return exitCode(err)
}

// wantsJSON looks for --json before any flag is parsed, so that a mistake in
// the flags is reported as JSON too.
func wantsJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--json") || slices.Contains(args, "--json=true")
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "crabbox",
		Short: "Lease throw-away boxes, group them in a crew, use their ports as your own",
		Long: `crabbox leases throw-away boxes, groups them in a crew, and makes every port
that a member exposes usable here under the member's own name, over SSH only.

Try it without anything to set up:  crabbox demo`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Version:           a.version,
		Args:              cobra.ArbitraryArgs,
		RunE:              onlySubcommands,
	}
	root.SetGlobalNormalizationFunc(pondIsCrew)
	root.SetVersionTemplate(a.versionLine() + "\n")
	root.SetFlagErrorFunc(flagFault)
	root.SetHelpCommand(helpCommand())
	root.AddCommand(
		a.demoCommand(), a.warmupCommand(), a.runCommand(), a.listCommand(), a.statusCommand(),
		a.sshCommand(), a.releaseCommand(), a.crewCommand(), a.doctorCommand(), a.providersCommand(),
		a.completionCommand(), a.versionCommand(), a.agentCommand(), a.serveCommand(),
	)
	return root
}

// pondIsCrew lets people who know crews as ponds write --pond.
func pondIsCrew(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "pond" {
		name = "crew"
	}
	return pflag.NormalizedName(name)
}

// helpCommand is help for the command that its arguments name.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND...]",
		Short: "Explain a command",
		ValidArgsFunction: func(cmd *cobra.Command, given []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if meant, rest, err := cmd.Root().Find(given); err == nil && len(rest) == 0 {
				for _, c := range meant.Commands() {
					if !c.Hidden {
						names = append(names, c.Name()+"\t"+c.Short)
					}
				}
			}
			return names, noFiles
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			meant, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 && meant.HasSubCommands() {
				return onlySubcommands(meant, rest)
			}
			meant.InitDefaultHelpFlag()
			return meant.Help()
		},
	}
}

// onlySubcommands is what a command does that only groups others: without
// arguments it shows its help, anything else is a command that does not exist.
func onlySubcommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var known []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			known = append(append(known, c.Name()), c.Aliases...)
		}
	}
	remedy := cmd.CommandPath() + " --help lists the commands."
	if near := provider.Nearest(args[0], known); near != "" {
		remedy = "Did you mean " + near + "? " + remedy
	}
	return fault.New(fault.Usage, remedy, "there is no command %q", cmd.CommandPath()+" "+args[0])
}
