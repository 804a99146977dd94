package cli

import (
	"time"

	"github.com/spf13/cobra"

	"crabbox/internal/box"
	"crabbox/internal/crew"
	"crabbox/internal/fault"
	"crabbox/internal/provider"
)

// orderFlags are the flags of warmup and run that say which box is wanted.
type orderFlags struct {
	provider, crew, slug, role string
	size, image, region        string
	expose, labels, options    []string
	ttl                        time.Duration
}

func (a *app) addOrderFlags(cmd *cobra.Command, o *orderFlags) {
	f := cmd.Flags()
	f.StringVar(&o.provider, "provider", "", "who lends the box (crabbox providers lists them)")
	f.StringVar(&o.crew, "crew", "", "the crew the box belongs to")
	f.StringVar(&o.slug, "slug", "", "the box's name in its crew; a friendly one is drawn otherwise")
	f.StringVar(&o.role, "role", "", "what the box is for; a second name for it while unambiguous")
	f.StringArrayVar(&o.expose, "expose", nil, "ports to make reachable: 8080,9090 or 53/udp (repeatable)")
	f.StringArrayVar(&o.labels, "label", nil, "a label of your own, KEY=VALUE (repeatable)")
	f.StringArrayVarP(&o.options, "option", "o", nil, "an option of the provider, KEY=VALUE (repeatable; crabbox providers NAME lists them)")
	f.DurationVar(&o.ttl, "ttl", 0, "how long the box lives, such as 2h (default 8h)")
	f.StringVar(&o.size, "size", "", "the size of the machine, in the provider's words")
	f.StringVar(&o.image, "image", "", "the image of the machine, in the provider's words")
	f.StringVar(&o.region, "region", "", "where the machine is, in the provider's words")
	a.completeFlags(cmd)
}

// order turns the flags into an order. What they say about names, ports and
// labels is checked here, the rest by the keeper, all before anything is spent.
func (o *orderFlags) order(cmd *cobra.Command, h *home) (crew.Order, error) {
	if err := checkNames(cmd, "crew", "slug", "role"); err != nil {
		return crew.Order{}, err
	}
	if err := notEmpty(cmd, "provider"); err != nil {
		return crew.Order{}, err
	}
	if cmd.Flags().Changed("ttl") && o.ttl <= 0 {
		return crew.Order{}, fault.New(fault.Usage, "Give a time to live such as --ttl 2h.", "--ttl %s is not in the future", o.ttl)
	}
	ports, err := box.ParsePorts(o.expose)
	if err != nil {
		return crew.Order{}, err
	}
	labels, err := pairs("--label", o.labels)
	if err != nil {
		return crew.Order{}, err
	}
	order := crew.Order{
		Provider: o.provider, Crew: o.crew, Slug: o.slug, Role: o.role,
		Expose: ports, Labels: labels, TTL: o.ttl,
		Size: o.size, Image: o.image, Region: o.region, Options: o.options,
	}
	if !cmd.Flags().Changed("provider") {
		order.Provider = h.config.Provider
	}
	if order.TTL == 0 {
		order.TTL = h.config.TTL
	}
	if order.TTL == 0 {
		order.TTL = provider.DefaultTTL
	}
	return order, nil
}
