//go:build unix

package sshdtest

import (
	"bytes"
	"os/exec"
	"strconv"
	"syscall"
)

// endTree kills a process and its descendants. Each is stopped before its
// children are listed, so that none can be born meanwhile.
func endTree(root int) {
	tree := []int{root}
	seen := map[int]bool{root: true}
	for i := 0; i < len(tree); i++ {
		syscall.Kill(tree[i], syscall.SIGSTOP)
		for _, child := range children(tree[i]) {
			if !seen[child] {
				seen[child] = true
				tree = append(tree, child)
			}
		}
	}
	for _, pid := range tree {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// children lists the processes whose parent is pid.
func children(pid int) []int {
	table, err := processTable()
	if err != nil {
		return nil
	}
	var found []int
	for child, parent := range table {
		if parent == pid {
			found = append(found, child)
		}
	}
	return found
}

// psTable asks ps for every process's parent.
func psTable() (map[int]int, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, err
	}
	table := map[int]int{}
	for line := range bytes.Lines(out) {
		fields := bytes.Fields(line)
		if len(fields) != 2 {
			continue
		}
		pid, pidErr := strconv.Atoi(string(fields[0]))
		parent, parentErr := strconv.Atoi(string(fields[1]))
		if pidErr == nil && parentErr == nil {
			table[pid] = parent
		}
	}
	return table, nil
}
