package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/fault"
)

// serveCommand is the web server that crabbox demo runs inside its boxes, where
// nothing else can be counted on. It says one text to everybody.
func (a *app) serveCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:    "__serve TEXT",
		Hidden: true,
		Args:   between(1, 1, "the text"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.serve(cmd.Context(), listen, args[0])
		},
	}
	cmd.Flags().StringVar(&listen, "listen", fmt.Sprintf("127.0.0.1:%d", demoPort), "host:port; port 0 takes a free one")
	return cmd
}

// serve listens, says on which port, and lets go of its output, so that whoever
// started it in the background need not wait.
func (a *app) serve(ctx context.Context, listen, text string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fault.New(fault.Conflict, "End the program that has the port.", "listen: %w", err)
	}
	a.out.line("%d", l.Addr().(*net.TCPAddr).Port)
	for _, w := range []any{a.io.Out, a.io.Err} {
		if f, ok := w.(*os.File); ok {
			f.Close()
		}
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			fmt.Fprintln(w, strings.TrimSpace(text))
		}),
		ReadHeaderTimeout: 5 * time.Second,
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}
