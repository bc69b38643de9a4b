package dialect

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/jetonhq/jeton"
)

// An address is a URL with holes in its host and its path. Each segment of the
// path is a value of its own, so that no hole reaches into the next segment.
type address struct {
	root   string // a variable that holds the URL up to the path; empty: there is none
	scheme string // empty, without a root: the address is a path, and an account says where
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
	} else if strings.HasPrefix(s, "$") {
		root, after, err := holeName(s[1:])
		if err != nil || after != "" && after[0] != '/' {
			return a, fmt.Errorf("a URL that begins with a hole goes on with / or ends, as $instance_url/token does")
		}
		a.root, rest = root, after
	} else if !strings.HasPrefix(s, "/") {
		return a, fmt.Errorf("a URL is to begin with https://, with a hole that holds a URL, or with / for a path alone")
	}
	if strings.ContainsAny(withoutCalls(rest), "?#") {
		return a, fmt.Errorf("write the query under query:, not in the URL")
	}
	if rest == "" {
		return a, nil
	}
	for _, segment := range segments(strings.TrimPrefix(rest, "/")) {
		v, err := compile(segment)
		if err != nil {
			return a, err
		}
		a.path = append(a.path, v)
	}
	return a, nil
}

// segments cuts a path at its slashes, but for those in the arguments of a call.
func segments(path string) []string {
	var list []string
	depth, start := 0, 0
	for i := range len(path) {
		switch {
		case path[i] == '(' && depth == 0 && !callAt(path, i):
		case path[i] == '(':
			depth++
		case path[i] == ')' && depth > 0:
			depth--
		case path[i] == '/' && depth == 0:
			list, start = append(list, path[start:i]), i+1
		}
	}
	return append(list, path[start:])
}

// callAt reports whether a parenthesis opens the arguments of a function.
func callAt(s string, paren int) bool {
	i := strings.LastIndexByte(s[:paren], '$')
	if i < 0 {
		return false
	}
	name, rest, err := holeName(s[i+1 : paren])
	return err == nil && name != "" && rest == ""
}

func withoutCalls(path string) string {
	var kept []string
	for _, s := range segments(path) {
		if !strings.Contains(s, "(") {
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, "/")
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

func (a address) holes() []string {
	names := append(a.host.holes(), a.pathHoles()...)
	if a.root != "" {
		names = append(names, a.root)
	}
	return names
}

func (a address) pathNeeds() []string {
	var names []string
	for _, segment := range a.path {
		names = append(names, segment.needs()...)
	}
	return names
}

func (a address) pathHoles() []string {
	var names []string
	for _, segment := range a.path {
		names = append(names, segment.holes()...)
	}
	return names
}

// fixed returns how many segments of the path are fixed text. An empty one is
// none: a URL without a path and one that is a slash are of one place.
func (a address) fixed() int {
	n := 0
	for _, segment := range a.path {
		if len(segment) > 0 && !segment.variable() {
			n++
		}
	}
	return n
}

// under returns the address of a path relative to a base.
func (a address) under(base address) address {
	if a.scheme != "" || a.root != "" {
		return a
	}
	path := slices.Clone(base.path)
	if n := len(path); n > 0 && len(path[n-1]) == 0 {
		path = path[:n-1] // the base ends in a slash
	}
	return address{base.root, base.scheme, base.host, append(path, a.path...)}
}

// meets reports whether one path can be that of both addresses, and neither has
// more of it as fixed text: a path that is named is that one's.
func (a address) meets(b address) bool {
	if a.where() == b.where() {
		return true
	}
	if len(a.path) != len(b.path) || a.fixed() != b.fixed() {
		return false
	}
	for i, segment := range a.path {
		other := b.path[i]
		if !segment.variable() && !other.variable() && segment.String() != other.String() {
			return false
		}
	}
	return true
}

// where returns what addresses of one place have in common: the path, by which a
// server tells them apart.
func (a address) where() string { return cmp.Or(address{path: a.path}.String(), "/") }

// String shows the address as the file has it, holes as $name.
func (a address) String() string {
	s := ""
	if a.scheme != "" {
		s = a.scheme + "://" + a.host.String()
	}
	if a.root != "" {
		s = "$" + a.root
	}
	for _, segment := range a.path {
		s += "/" + segment.String()
	}
	return s
}

// fill returns the URL. An origin, if given, replaces the scheme and the host
// and puts its path in front; it does not where the address has a root, which
// says where it stands.
func (a address) fill(origin *url.URL, e *env) (*url.URL, error) {
	u, escaped, err := a.place(origin, e)
	if err != nil {
		return nil, err
	}
	for _, segment := range a.path {
		s, err := segment.fill(e)
		if err != nil {
			return nil, err
		}
		if s == "." || s == ".." {
			return nil, fmt.Errorf("$%s would be a dot segment of the path", strings.Join(segment.needs(), ", $"))
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

// place returns the URL without its path, and what its escaped path begins with.
func (a address) place(origin *url.URL, e *env) (*url.URL, string, error) {
	switch {
	case a.root != "":
		text, err := e.get(a.root)
		if err != nil {
			return nil, "", err
		}
		u, err := rootURL(text)
		if err != nil {
			return nil, "", fmt.Errorf("$%s %w", a.root, err)
		}
		return u, strings.TrimSuffix(u.EscapedPath(), "/"), nil
	case origin != nil:
		return &url.URL{Scheme: origin.Scheme, Host: origin.Host}, strings.TrimSuffix(origin.EscapedPath(), "/"), nil
	case a.scheme == "":
		return nil, "", errors.New("the dialect names no host; the account is to give an origin")
	}
	host, err := a.host.fill(e)
	if err != nil {
		return nil, "", err
	}
	if !plainHost(host) {
		return nil, "", errors.New("a variable in the host holds a character that a host cannot have")
	}
	return &url.URL{Scheme: a.scheme, Host: host}, "", nil
}

// rootURL reads a URL that a variable holds: https, or http to this machine, or a
// host alone.
func rootURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || !plainHost(u.Host) || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("is not the URL of a host")
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && jeton.IsLoopback(u.Hostname())) {
		return nil, errors.New("is not an https:// URL")
	}
	return u, nil
}

// leads reports whether a vendor's answer says where the address is.
func (d *Dialect) leads(a address) bool {
	holes := a.host.holes()
	if a.root != "" {
		holes = append(holes, a.root)
	}
	return slices.ContainsFunc(holes, d.answered)
}

// led refuses a URL that an answer led to, if it leads away: its host is to be
// the login's, below the login's own domain, or one that the dialect lists under
// hosts. Credentials go there.
func (d *Dialect) led(u, origin *url.URL, e *env) error {
	host := strings.ToLower(u.Hostname())
	if origin != nil && strings.EqualFold(u.Host, origin.Host) {
		return nil
	}
	allowed := d.own(e)
	for _, v := range d.hosts {
		if text, err := v.fill(e); err == nil {
			allowed = append(allowed, strings.TrimPrefix(hostname(text), "*."))
		}
	}
	for _, a := range allowed {
		if a = strings.ToLower(a); a != "" && (host == a || below(host, a)) {
			return nil
		}
	}
	return errors.New("the vendor's answer leads to a host that is neither the login's nor listed under hosts")
}

// own returns the host of the login and the domain that it belongs to. Of a host
// that an answer may have put together, only the domain counts, and that only
// where it is fixed text: an answer does not say whom to trust.
func (d *Dialect) own(e *env) []string {
	first := d.first().url
	login, err := first.host.fill(e)
	if err != nil || first.scheme == "" {
		return nil
	}
	login = hostname(login)
	domain, err := publicsuffix.EffectiveTLDPlusOne(login)
	whole := err == nil
	if slices.ContainsFunc(first.host.holes(), d.answered) {
		end := hostname("x" + first.host[len(first.host)-1].text)
		if whole && below(strings.ToLower(end), strings.ToLower(domain)) {
			return []string{domain}
		}
		return nil
	}
	if whole {
		return []string{login, domain}
	}
	return []string{login}
}

// below reports whether a host stands below another, which no address does.
func below(host, other string) bool {
	return strings.HasSuffix(host, "."+other) && net.ParseIP(other) == nil
}

func hostname(host string) string {
	if u, err := url.Parse("//" + host); err == nil {
		return u.Hostname()
	}
	return host
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
func (a address) read(escapedPath string, into *bound) bool {
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
