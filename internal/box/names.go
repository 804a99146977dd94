package box

import (
	"math/rand/v2"
	"regexp"
	"strings"

	"crabbox/internal/fault"
)

// MaxName is the longest crew, slug or role: one DNS label, and also what the
// strictest label store (63 characters) holds.
const MaxName = 63

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckName tells whether s can be a crew, a slug or a role: one DNS label in
// lower case. The what ("crew", "slug", "role") is for the message.
func CheckName(what, s string) error {
	if namePattern.MatchString(s) {
		return nil
	}
	remedy := "Use 1 to 63 of a-z, 0-9 and -, starting and ending with a letter or digit."
	if s == "" {
		return fault.New(fault.Usage, remedy, "the %s is empty", what)
	}
	if near := nearName(s); near != "" {
		remedy += " Near it: " + near + "."
	}
	return fault.New(fault.Usage, remedy, "%q is not a valid %s", short(s), what)
}

// nearName makes a valid name out of an invalid one, "" when nothing is left.
func nearName(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() == MaxName {
			break
		}
	}
	return strings.Trim(b.String(), "-")
}

func short(s string) string {
	const limit = 40
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "..."
	}
	return s
}

// OwnerName makes a label value out of a person's name or the local part of an
// e-mail address; "unknown" when nothing usable is left.
func OwnerName(s string) string {
	local, _, _ := strings.Cut(s, "@")
	if name := nearName(local); name != "" {
		return name
	}
	return "unknown"
}

var (
	moods   = strings.Fields("agile amber bold brave brisk calm clever coral crisp eager early fair fleet fond gentle glad golden grand happy hardy jolly keen kind lively lucid lucky mellow merry misty neat nimble noble plucky proud quick quiet rapid ready rosy salty sandy sharp shiny silver sleek snappy spry steady stout sunny swift tidal tidy vivid warm wavy wise witty young")
	animals = strings.Fields("barnacle clam cockle conch coral crab crayfish dolphin eel egret fiddler gannet gull heron hermit kelp krill limpet lobster marlin minnow mussel nautilus octopus otter oyster pelican periwinkle petrel pike plover prawn puffin ray reef sandpiper sardine scallop seal shark shrimp skate skimmer snail sole sponge squid starfish stilt tern tuna turtle urchin walrus wave whale whelk wrasse")
)

// NewSlug draws a friendly name such as "brisk-otter". The caller checks that
// it is free.
func NewSlug() string {
	return moods[rand.IntN(len(moods))] + "-" + animals[rand.IntN(len(animals))]
}
