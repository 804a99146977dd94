package doctor

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWritableLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := writable(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if writable(filepath.Join(dir, "not there")) == nil {
		t.Error("a folder that is not there can be written to")
	}
}
