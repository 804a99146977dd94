// Package bench measures the mesh against OpenSSH's ssh -L, both through the
// same real sshd on this machine and in the same run. It holds benchmarks only:
//
//	make bench
//
// Each benchmark takes turns between the two and reports medians and the median
// of the pairs' ratios; absolute numbers of a noisy machine mean little, ratios
// taken side by side mean something.
package bench
