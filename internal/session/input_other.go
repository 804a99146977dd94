//go:build !unix

package session

import "io"

// input reads Stdin. There is no way here to give up a Read that waits.
type input struct{ io.Reader }

func newInput(r io.Reader) *input { return &input{r} }
func (in *input) giveUp() bool    { return false }
func (in *input) close()          {}
