package jeton

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// WithoutURL takes the URL out of an error of net/http, which prints it: it can
// hold a secret. What such an error is wrapped in goes with it, so it is for the
// error as net/http returned it. Nil stays nil.
func WithoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// IsLoopback reports whether a host, a name or an address in brackets or not,
// is this machine: only there may a secret travel over http.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}
