package agent

import "crabbox/internal/box"

// domain is what all names of boxes end in.
const domain = ".cbx"

// names gives each box the names that lead to it and to nothing else:
// <slug>.<crew>.cbx always and first; then <slug>.cbx and <role>.cbx, where no
// other connected box has that word as its slug or role. One name never means
// two boxes, not even one by slug and one by role.
func names(boxes []box.Box) map[box.ID][]string {
	claimants := map[string]map[box.ID]bool{}
	for _, b := range boxes {
		for _, word := range []string{b.Slug, b.Role} {
			if word == "" {
				continue
			}
			if claimants[word] == nil {
				claimants[word] = map[box.ID]bool{}
			}
			claimants[word][b.ID] = true
		}
	}
	all := map[box.ID][]string{}
	for _, b := range boxes {
		own := []string{b.Slug + "." + b.Crew + domain}
		if len(claimants[b.Slug]) == 1 {
			own = append(own, b.Slug+domain)
		}
		if b.Role != "" && b.Role != b.Slug && len(claimants[b.Role]) == 1 {
			own = append(own, b.Role+domain)
		}
		all[b.ID] = own
	}
	return all
}
