package local

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Word is the first argument that makes an executable play the box: nothing a
// person types. The second says which part of it, the third is the box's folder.
const Word = "__box"

const (
	wordServe   = "serve"   // serve without more ado: a process box
	wordIsolate = "isolate" // first process in new namespaces: build the view, then exec as wordInside
	wordInside  = "inside"  // serve in the finished view, without any privilege
	wordProbe   = "probe"   // like isolate, then end
)

// Main plays the box when args (without the program's name) ask for it. It must
// be called before anything else in main, and in TestMain of test binaries that
// create local boxes.
func Main(args []string) (code int, handled bool) {
	if len(args) != 3 || args[0] != Word {
		return 0, false
	}
	base, id := filepath.Split(filepath.Clean(args[2]))
	var err error
	switch args[1] {
	case wordServe:
		err = serve(base, id)
	case wordInside:
		err = serve(insideBase, id)
	case wordIsolate, wordProbe:
		err = isolate(args[1], base, id)
	default:
		err = fmt.Errorf("there is no %s %s", Word, args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// tell writes the one line that the launcher waits for.
func tell(a answer) error {
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(line, '\n'))
	return err
}

// refuse reports err to the launcher and returns it.
func refuse(err error, isolation bool) error {
	_ = tell(answer{Error: err.Error(), Isolation: isolation})
	return err
}
