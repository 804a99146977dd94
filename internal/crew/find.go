package crew

import (
	"context"
	"slices"
	"strings"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
	"crabbox/internal/store"
)

// Find returns the lease with this id or slug: fault.NotFound (with the nearest
// slug), or fault.Conflict when a slug means several leases (they are named).
// "slug.crew" (also with .cbx behind it) and "crew/slug" mean one crew's member.
func (k *Keeper) Find(ctx context.Context, ref string) (store.Lease, error) {
	if id, err := box.ParseID(ref); err == nil {
		return k.Store.Lease(id)
	}
	slug, crew, inCrew, err := parseRef(ref)
	if err != nil {
		return store.Lease{}, err
	}
	leases, err := k.leases(k.warnBroken)
	if err != nil {
		return store.Lease{}, err
	}
	var found []store.Lease
	var known []string
	for _, l := range leases {
		if inCrew && l.Box.Crew != crew {
			continue
		}
		known = append(known, l.Box.Slug)
		if l.Box.Slug == slug {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		remedy := "crabbox list shows the leases."
		if near := provider.Nearest(slug, known); near != "" {
			remedy = "Did you mean " + near + "? " + remedy
		}
		return store.Lease{}, fault.New(fault.NotFound, remedy, "there is no lease %s", ref)
	}
	var names []string
	for _, l := range found {
		names = append(names, memberName(l.Box))
	}
	slices.Sort(names)
	return store.Lease{}, fault.New(fault.Conflict, "Name one of them: "+strings.Join(names, ", ")+".", "%s means %d leases", ref, len(found))
}

// parseRef reads "slug", "slug.crew", "slug.crew.cbx", "slug.cbx" and "crew/slug".
func parseRef(ref string) (slug, crew string, inCrew bool, err error) {
	if crew, slug, inCrew = strings.Cut(ref, "/"); !inCrew {
		slug, crew, inCrew = strings.Cut(strings.TrimSuffix(ref, ".cbx"), ".")
	}
	if err := box.CheckName("slug", slug); err != nil {
		return "", "", false, err
	}
	if inCrew {
		err = box.CheckName("crew", crew)
	}
	return slug, crew, inCrew, err
}

// memberName is a reference that Find takes for exactly this lease.
func memberName(b box.Box) string {
	if b.Crew == "" {
		return string(b.ID)
	}
	return b.Crew + "/" + b.Slug
}
