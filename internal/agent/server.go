package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"crabbox/internal/agent/api"
	"crabbox/internal/fault"
)

const (
	requestMost  = 64 << 10 // bytes in a request's body
	requestTime  = 10 * time.Second
	shutdownTime = 2 * time.Second // for requests to end by themselves
)

// server answers package api on the agent's socket. Who reaches the socket is
// the user: it lies in a folder that is closed to others.
type server struct {
	*agent
	listener net.Listener
}

// call answers one request with a value to be sent as JSON.
type call func(*http.Request) (any, error)

// calls is the table of all that the agent answers.
func (s server) calls() map[string]http.Handler {
	return map[string]http.Handler{
		api.PathVersion: call(s.callVersion),
		api.PathCrews:   call(s.callCrews),
		api.PathCrew:    call(s.callCrew),
		api.PathConnect: call(s.callConnect),
		api.PathDrop:    call(s.callDrop),
		api.PathWatch:   http.HandlerFunc(s.watch),
		api.PathCut:     call(s.callCut),
		api.PathRefresh: call(s.callRefresh),
		api.PathUnlock:  call(s.callUnlock),
		api.PathStop:    call(s.callStop),
	}
}

// run serves until ctx ends. It returns after every request has ended.
func (s server) run(ctx context.Context) error {
	select {
	case <-s.settled: // callers wait in the socket's queue meanwhile
	case <-ctx.Done():
		s.listener.Close()
		return nil
	}
	mux := http.NewServeMux()
	for path, handler := range s.calls() {
		mux.Handle(path, handler)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, fault.New(fault.Unsupported, "crabbox agent stop ends this agent; the next command starts one of its own version.",
			"the agent of version %s does not know %s %q", s.version, r.Method, r.URL.Path))
	})
	h := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !s.begin() {
				fail(w, fault.New(api.Ending, "", "the agent is ending"))
				return
			}
			defer s.end()
			mux.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: requestTime,
		ReadTimeout:       0, // a watch goes on; see decode
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(s.listener) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		s.close()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		if h.Shutdown(bounded) != nil {
			h.Close() // a client that does not read: its connection is cut
		}
		cancel()
		err = <-served
	}
	s.close()
	s.requests.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// ServeHTTP makes a call out of a request.
func (c call) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := c(r)
	switch {
	case err == nil:
	case r.Context().Err() != nil: // the agent ends; or the client is gone and reads nothing
		fail(w, fault.New(api.Ending, "", "the agent is ending"))
		return
	default:
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

func fail(w http.ResponseWriter, err error) {
	e := api.NewError(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status())
	_ = json.NewEncoder(w).Encode(e) // the client may be gone
}

// decode reads a request's body; an empty one is a zero value. Fields that this
// version does not know are a newer client's and do no harm.
func decode[T any](r *http.Request) (v T, err error) {
	err = json.NewDecoder(io.LimitReader(r.Body, requestMost)).Decode(&v)
	if errors.Is(err, io.EOF) {
		return v, nil
	}
	if err != nil {
		return v, fault.New(fault.Usage, "Use a client of the agent's version.", "the request cannot be read: %w", err)
	}
	return v, nil
}

func (s server) callVersion(*http.Request) (any, error) {
	return api.Version{Version: s.version, PID: os.Getpid(), Started: s.started}, nil
}

func (s server) callCrews(*http.Request) (any, error) { return s.crews(), nil }

func (s server) callCrew(r *http.Request) (any, error) { return s.crew(r.PathValue("crew")) }

func (s server) callConnect(r *http.Request) (any, error) {
	request, err := decode[api.ConnectRequest](r)
	if err != nil {
		return nil, err
	}
	return s.connect(r.Context(), r.PathValue("crew"), request)
}

func (s server) callDrop(r *http.Request) (any, error) {
	return s.drop(r.Context(), r.PathValue("crew"))
}

func (s server) callCut(r *http.Request) (any, error) {
	crew, err := s.crew(r.PathValue("crew"))
	if err != nil {
		return nil, err
	}
	slug := r.PathValue("slug")
	for _, m := range crew.Members {
		switch {
		case m.Slug != slug:
		case s.mesh.Cut(string(m.Lease)):
			return nil, nil
		default:
			return nil, fault.New(fault.Conflict, "", "%s has no connection now: %s", slug, m.State)
		}
	}
	return nil, fault.New(fault.NotFound, "crabbox crew peers "+crew.Name+" lists them.", "crew %s has no member %q", crew.Name, slug)
}

func (s server) callRefresh(r *http.Request) (any, error) { return nil, s.pass(r.Context()) }

func (s server) callUnlock(r *http.Request) (any, error) {
	request, err := decode[api.UnlockRequest](r)
	if err != nil {
		return nil, err
	}
	defer clear(request.Passphrase)
	if strings.TrimSpace(request.File) == "" {
		return nil, fault.New(fault.Usage, "", "no key file is named")
	}
	if err := s.keeper.Login.Unlock(request.File, request.Passphrase); err != nil {
		return nil, err
	}
	s.retry("")
	return nil, nil
}

// callStop lets the answer out before the agent ends: requests are waited for.
func (s server) callStop(*http.Request) (any, error) {
	s.log.Info("asked to stop")
	s.close()
	s.stop()
	return nil, nil
}
