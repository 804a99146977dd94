package doctor

// openFiles is how many files a process may have open; Windows sets no limit
// that matters here.
func openFiles() (limit uint64, known bool) { return 0, false }
