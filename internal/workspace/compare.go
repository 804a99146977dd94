package workspace

import (
	"maps"
	"path"
	"slices"
)

// work is what makes the box's copy equal to the tree here. All names are
// relative to the tree and sorted, so that a folder comes before what is in it.
type work struct {
	send    []file
	folders []string // what send needs to be folders
	blocked bool     // something may stand where send's files or folders have to be
	remove  []string // files on the box that are ours and no longer wanted
	leave   []string // folders that were ours, deepest first: removed if empty

	stale  bool  // the list on the box is not final
	during names // the list while the tree changes: old and new
	final  names // the list after it
}

// compare finds what is to be done.
func compare(want map[string]file, box copied) work {
	var w work
	needed, wanted := map[string]bool{}, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		above := ancestors(name)
		add(wanted, above...)
		if !proven(want[name], box) {
			w.send = append(w.send, want[name])
			add(needed, above...)
			if _, there := box.files[name]; !there || !reachable(name, box) {
				w.blocked = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(box.files)) {
		if _, keep := want[name]; !keep && reachable(name, box) {
			w.remove = append(w.remove, name)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(box.folders)) {
		if !wanted[dir] {
			w.leave = append(w.leave, dir)
		}
	}
	slices.Reverse(w.leave)
	w.folders = slices.Sorted(maps.Keys(needed))

	w.final = names{files: slices.Sorted(maps.Keys(want)), folders: slices.Sorted(maps.Keys(wanted))}
	w.during = names{files: union(w.final.files, w.remove), folders: union(w.final.folders, w.leave)}
	w.stale = box.list != w.final.digest()
	return w
}

func add(set map[string]bool, members ...string) {
	for _, m := range members {
		set[m] = true
	}
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// proven says whether the box showed that it has this very file.
func proven(f file, box copied) bool {
	there, ok := box.files[f.path]
	switch {
	case !ok || !reachable(f.path, box):
		return false
	case f.isLink():
		return there.link == f.link
	}
	return there.hashed && there.sum == f.sum && there.runs == f.runs()
}

// reachable says whether all folders above a file on the box are real ones: a
// path through a link leads to somebody else's files.
func reachable(name string, box copied) bool {
	for _, dir := range ancestors(name) {
		if !box.folders[dir] {
			return false
		}
	}
	return true
}

// ancestors are the folders above a file, the top left out.
func ancestors(name string) []string {
	var dirs []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	return dirs
}
