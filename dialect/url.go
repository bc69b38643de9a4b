package dialect

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
)

// An address is a URL with holes in its host and its path. Each segment of the
// path is a value of its own, so that no hole reaches into the next segment.
type address struct {
	scheme string // empty: the address is a path, and an account says where
	host   value
	path   []value // one for each segment; "/a/b" has two, "" and "/" have none and one
}

func compileAddress(s string) (address, error) {
	var a address
	rest := s
	if scheme, after, ok := strings.Cut(s, "://"); ok {
		if scheme != "https" && scheme != "http" {
			return a, fmt.Errorf("a URL is to begin with https://, or with / for a path alone")
		}
		host, _, _ := strings.Cut(after, "/")
		v, err := compile(host)
		if err != nil {
			return a, err
		}
		if strings.ContainsAny(host, "@?# ") || host == "" {
			return a, fmt.Errorf("the URL has no plain host")
		}
		if scheme == "http" && !loopback(v) {
			return a, fmt.Errorf("a secret must not travel over http:// except to a loopback address; write https://")
		}
		a.scheme, a.host = scheme, v
		rest = after[len(host):]
	} else if !strings.HasPrefix(s, "/") {
		return a, fmt.Errorf("a URL is to begin with https://, or with / for a path alone")
	}
	if strings.ContainsAny(rest, "?#") {
		return a, fmt.Errorf("write the query under query:, not in the URL")
	}
	if rest == "" {
		return a, nil
	}
	for _, segment := range strings.Split(strings.TrimPrefix(rest, "/"), "/") {
		v, err := compile(segment)
		if err != nil {
			return a, err
		}
		a.path = append(a.path, v)
	}
	return a, nil
}

func loopback(host value) bool {
	text, ok := host.literal()
	if !ok {
		return false
	}
	if h, _, err := net.SplitHostPort(text); err == nil {
		text = h
	}
	return jeton.IsLoopback(text)
}

func (a address) has(hole string) bool { return slices.Contains(a.holes(), hole) }

func (a address) holes() []string { return append(a.host.holes(), a.pathHoles()...) }

func (a address) pathHoles() []string {
	var names []string
	for _, segment := range a.path {
		names = append(names, segment.holes()...)
	}
	return names
}

// under returns the address of a path relative to a base.
func (a address) under(base address) address {
	if a.scheme != "" {
		return a
	}
	path := slices.Clone(base.path)
	if n := len(path); n > 0 && len(path[n-1]) == 0 {
		path = path[:n-1] // the base ends in a slash
	}
	return address{base.scheme, base.host, append(path, a.path...)}
}

// String shows the address as the file has it, holes as $name.
func (a address) String() string {
	s := ""
	if a.scheme != "" {
		s = a.scheme + "://" + a.host.String()
	}
	for _, segment := range a.path {
		s += "/" + segment.String()
	}
	return s
}

// String shows the value as the file has it.
func (v value) String() string {
	s := ""
	for _, p := range v {
		if p.hole != "" {
			s += "$" + p.hole
		} else {
			s += strings.ReplaceAll(p.text, "$", "$$")
		}
	}
	return s
}

// fill returns the URL. An origin, if given, replaces the scheme and the host
// and puts its path in front.
func (a address) fill(origin *url.URL, vars jeton.Vars) (*url.URL, error) {
	u := &url.URL{Scheme: a.scheme}
	escaped := ""
	if origin != nil {
		u.Scheme, u.Host = origin.Scheme, origin.Host
		escaped = strings.TrimSuffix(origin.EscapedPath(), "/")
	} else {
		if a.scheme == "" {
			return nil, errors.New("the dialect names no host; the account is to give an origin")
		}
		host, err := a.host.fill(vars)
		if err != nil {
			return nil, err
		}
		if !plainHost(host) {
			return nil, errors.New("a variable in the host holds a character that a host cannot have")
		}
		u.Host = host
	}
	for _, segment := range a.path {
		s, err := segment.fill(vars)
		if err != nil {
			return nil, err
		}
		if s == "." || s == ".." {
			return nil, fmt.Errorf("$%s would be a dot segment of the path", strings.Join(segment.holes(), ", $"))
		}
		escaped += "/" + url.PathEscape(s)
	}
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, errors.New("the path of the origin is not a path")
	}
	u.Path, u.RawPath = path, escaped
	return u, nil
}

func plainHost(host string) bool {
	for _, c := range []byte(host) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._:[]", c) >= 0) {
			return false
		}
	}
	return host != ""
}

// read binds the holes of the path. It takes the escaped path, in which a
// slash inside a value is still %2F.
func (a address) read(escapedPath string, into jeton.Vars) bool {
	rest := strings.TrimPrefix(escapedPath, "/")
	if rest == "" && len(a.path) == 0 {
		return true
	}
	segments := strings.Split(rest, "/")
	if len(segments) != len(a.path) {
		return false
	}
	for i, segment := range segments {
		s, err := url.PathUnescape(segment)
		if err != nil || !a.path[i].read(s, into) {
			return false
		}
	}
	return true
}
