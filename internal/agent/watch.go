package agent

import (
	"encoding/json"
	"net/http"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/fault"
)

const (
	watchLeast = 100 * time.Millisecond // between two lines
	watchMost  = 5 * time.Second
)

// watch streams a crew's state, and holds the crew while it does when it is
// asked to. The request's context ends with the client's process, however that
// ends; a client that is merely suspended keeps its crew, so writing has no
// deadline of its own (the end of the agent cuts it).
func (s server) watch(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("crew")
	request, err := decode[api.WatchRequest](r)
	if err != nil {
		fail(w, err)
		return
	}
	var held *claim
	if request.Hold {
		c, leave, err := s.hold(name, request.ConnectRequest)
		if err != nil {
			fail(w, err)
			return
		}
		defer leave()
		held = c
		if err := s.pass(r.Context()); err != nil {
			fail(w, fault.New(api.Ending, "", "the agent is ending"))
			return
		}
		s.retry(name)
	} else if _, err := s.crew(name); err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	control := http.NewResponseController(w)
	send := func(e api.Event) bool { return out.Encode(e) == nil && control.Flush() == nil }
	for {
		_, changed := s.look() // before the state is read: a change in between is seen again
		crew, err := s.crew(name)
		switch {
		case err != nil || held != nil && !s.stands(held):
			send(api.Event{End: api.NewError(fault.New(fault.Conflict, "crabbox crew connect "+name+" connects it again.", "crew %s is not connected any more: another command disconnected it or released its last box", name))})
			return
		case !send(api.Event{Crew: &crew}):
			return
		}
		if !s.nap(r, changed) {
			// Lost on a client that is gone, read by one whose agent ends.
			send(api.Event{End: api.NewError(fault.New(api.Ending, "", "the agent has ended"))})
			return
		}
	}
}

// nap waits for the next line's time; false when there will be none.
func (a *agent) nap(r *http.Request, changed <-chan struct{}) bool {
	least, most := time.After(watchLeast), time.After(watchMost)
	select {
	case <-r.Context().Done():
		return false
	case <-least:
	}
	select {
	case <-r.Context().Done():
		return false
	case <-changed:
	case <-most:
	}
	return true
}
