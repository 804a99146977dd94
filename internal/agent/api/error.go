package api

import (
	"net/http"

	"crabbox/internal/fault"
)

// Ending is the kind of an Error by which an agent says that it is about to
// end: the call was not carried out, a new agent will do it.
const Ending fault.Kind = "ending"

// NewError puts err into the form that travels.
func NewError(err error) *Error {
	return &Error{Kind: string(fault.KindOf(err)), Message: err.Error(), Remedy: fault.RemedyOf(err)}
}

// Fault makes the failure out of what has travelled, kind and remedy included.
func (e Error) Fault() error {
	kind := fault.Kind(e.Kind)
	if kind == "" {
		kind = fault.Failed
	}
	return fault.New(kind, e.Remedy, "%s", e.Message)
}

// Status is the HTTP status that goes with the error's kind.
func (e Error) Status() int {
	switch fault.Kind(e.Kind) {
	case fault.Usage:
		return http.StatusBadRequest
	case fault.Credentials:
		return http.StatusUnauthorized
	case fault.NotOurs:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.Unsupported:
		return http.StatusNotImplemented
	case fault.Timeout:
		return http.StatusGatewayTimeout
	case Ending:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
