package crew

import (
	"context"
	"slices"
	"strconv"
	"time"

	"crabbox/internal/box"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
	"crabbox/internal/store"
)

// Order is what a person asks for in warmup and run. Warmup checks all of it
// before anything is created.
type Order struct {
	Provider            string
	Crew, Slug, Role    string // Slug "": a friendly one is drawn
	Expose              []box.Port
	Labels              box.Labels
	TTL                 time.Duration // 0: provider.DefaultTTL
	Size, Image, Region string
	Options             []string // -o KEY=VALUE as typed
}

// check refuses an order that cannot be carried out, before anything is done
// for it. The slug's being free is decided by reserve.
func (o Order) check(d provider.Descriptor) (provider.Options, error) {
	for _, name := range []struct{ what, value string }{{"crew", o.Crew}, {"slug", o.Slug}, {"role", o.Role}} {
		if name.value == "" {
			continue
		}
		if err := box.CheckName(name.what, name.value); err != nil {
			return nil, err
		}
	}
	if _, err := checkPorts(o.Expose); err != nil {
		return nil, err
	}
	for key, value := range o.Labels {
		if err := box.CheckLabel(key, value); err != nil {
			return nil, err
		}
		if box.ReservedLabel(key) {
			return nil, fault.New(fault.Usage, "Choose another key.", "label %s is set by crabbox itself", key)
		}
	}
	if o.TTL < 0 || o.TTL > 0 && o.TTL < time.Second {
		return nil, fault.New(fault.Usage, "Give a duration of a second or more, such as 90m or 8h.", "a box cannot live for %s", o.TTL)
	}
	if !d.Can.Sizes && (o.Size != "" || o.Image != "" || o.Region != "") {
		return nil, fault.New(fault.Usage, "Leave --size, --image and --region out.", "provider %s has no sizes, images or regions", d.Name)
	}
	return d.ParseOptions(o.Options)
}

// checkPorts returns the ports sorted; one that is named twice is wrong usage.
func checkPorts(ports []box.Port) ([]box.Port, error) {
	var words []string
	for _, p := range ports {
		words = append(words, p.String())
	}
	return box.ParsePorts(words)
}

// reserve writes the lease's first record, with a slug that no other member of
// the crew has. All warmups of this user pass here one after the other.
func (k *Keeper) reserve(ctx context.Context, l store.Lease) (store.Lease, error) {
	unlock, err := k.Store.Lock(ctx, "slugs")
	if err != nil {
		return l, err
	}
	defer unlock()
	leases, err := k.leases(k.warnBroken)
	if err != nil {
		return l, err
	}
	if l.Box.Slug == "" {
		l.Box.Slug = drawSlug(leases)
	} else if i := slices.IndexFunc(leases, func(other store.Lease) bool {
		return other.Box.Slug == l.Box.Slug && other.Box.Crew == l.Box.Crew
	}); i >= 0 {
		return l, k.taken(leases[i])
	}
	return l, k.Store.SaveLease(l)
}

// drawSlug returns a friendly name that no lease of any crew has.
func drawSlug(leases []store.Lease) string {
	used := map[string]bool{}
	for _, l := range leases {
		used[l.Box.Slug] = true
	}
	slug := box.NewSlug()
	for n := 2; used[slug]; n++ {
		slug = box.NewSlug()
		if n > 20 { // nearly all are used
			slug += "-" + strconv.Itoa(n)
		}
	}
	return slug
}

func (k *Keeper) taken(holder store.Lease) error {
	b := holder.Box
	remedy := "Choose another --slug, or release that one: crabbox release " + string(b.ID) + "."
	where := ""
	if b.Crew != "" {
		where = " in crew " + b.Crew
	}
	if b.State == box.Gone || b.Expired(k.now()) {
		where += ", whose time is over"
	}
	return fault.New(fault.Conflict, remedy, "slug %s is taken by lease %s%s", b.Slug, b.ID, where)
}
