package doctor

import (
	"strings"
	"testing"

	"crabbox/internal/agent/api"
)

func connectedMember(link api.Member) *member {
	return &member{examination: &examination{request: Request{Crew: "demo"}}, link: &link}
}

// The agent cannot ask for a passphrase and a person at a terminal can, so a
// login that works here does not prove that the agent's does.
func TestALoginThatTheAgentWasRefusedIsNotInOrder(t *testing.T) {
	got := connectedMember(api.Member{State: api.LinkRefused, Reason: "no key"}).login(t.Context())
	if got.Finding != Fail || !strings.HasSuffix(got.Detail, "the agent was refused: no key") || !strings.Contains(got.Remedy, "crabbox crew connect demo") {
		t.Errorf("%+v", got)
	}
}

func TestALinkWithoutAReasonIsStillDescribed(t *testing.T) {
	got := connectedMember(api.Member{State: "connecting"}).reachable(t.Context())
	if got.Finding != Fail || got.Detail != "the link is connecting" {
		t.Errorf("%+v", got)
	}
}
