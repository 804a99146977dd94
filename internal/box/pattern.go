package box

import "strings"

// MatchPattern compares s with a pattern as OpenSSH means it in known_hosts and
// ssh_config: * stands for any characters and ? for one, without regard for any
// separator. It takes time proportional to the product of the lengths.
func MatchPattern(pattern, s string) bool {
	star, retry := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			retry++
			p, i = star+1, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
