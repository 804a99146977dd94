package provider

import (
	"slices"
	"strings"

	"crabbox/internal/fault"
)

// Registry is the list of providers that this program knows. Build it once in
// main; it does not change.
type Registry []Descriptor

// Find returns the provider with this name or alias. Unknown names are wrong
// usage and offer the nearest known one.
func (r Registry) Find(name string) (Descriptor, error) {
	for _, d := range r {
		if d.Name == name || slices.Contains(d.Aliases, name) {
			return d, nil
		}
	}
	remedy := "Known providers: " + strings.Join(r.Names(), ", ") + "."
	if near := Nearest(name, r.Names()); near != "" {
		remedy = "Did you mean " + near + "? " + remedy
	}
	return Descriptor{}, fault.New(fault.Usage, remedy, "there is no provider %q", name)
}

// Names lists the providers' names in their order.
func (r Registry) Names() []string {
	var names []string
	for _, d := range r {
		names = append(names, d.Name)
	}
	return names
}

// Nearest returns the known word that a typing error most likely meant, "" when
// none is close: a third of the word's letters may differ, and one more.
func Nearest(word string, known []string) string {
	best, bestDistance := "", len(word)/3+2
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions and substitutions (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
