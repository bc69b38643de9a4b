package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton/yamlnode"
)

// listen reads the key listen into a, which has the default.
func (p *parser) listen(n yamlnode.Node, a *address) {
	v, ok := n.Get("listen")
	if !ok || !p.want(v, a.key, yamlnode.Text, yamlnode.Number) {
		return
	}
	if path, ok := strings.CutPrefix(v.Text, "unix:"); ok {
		if a.key != "broker.listen" {
			p.fail(v, "%s: only the broker listens on a Unix socket; write HOST:PORT", a.key)
		} else if path == "" {
			p.fail(v, "%s: unix: wants a path", a.key)
		}
		a.text = "unix:" + p.path(path)
		return
	}
	if err := checkAddress(v.Text); err != nil {
		p.fail(v, "%s: %v", a.key, err)
	}
	a.text = v.Text
}

// checkAddress reports whether text is HOST:PORT.
func checkAddress(text string) error {
	_, port, err := net.SplitHostPort(text)
	if n, numErr := strconv.Atoi(port); err != nil || numErr != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%s is no address; write HOST:PORT, such as 127.0.0.1:8080", yamlnode.Quote(text))
	}
	return nil
}

// issuerURL reads the base of issuer identifiers.
func (p *parser) issuerURL(n yamlnode.Node, listen string) string {
	if v, ok := n.Get("url"); ok {
		if u := p.url(v, "issuer.url"); u != nil {
			return strings.TrimSuffix(u.String(), "/")
		}
		return ""
	}
	host, _, _ := net.SplitHostPort(listen)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		p.fail(n, "issuer.url is missing; clients cannot reach %s, so say under which URL they do", yamlnode.Quote(listen))
	}
	return "http://" + listen
}

// url reads an http or https URL without credentials, query and fragment.
func (p *parser) url(n yamlnode.Node, what string) *url.URL {
	if !p.want(n, what, yamlnode.Text) {
		return nil
	}
	u, err := url.Parse(n.Text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		p.fail(n, "%s is to be a URL that begins with http:// or https://", what)
	case u.User != nil:
		p.fail(n, "%s: credentials do not belong in a URL", what)
	case u.RawQuery != "" || u.Fragment != "":
		p.fail(n, "%s is to have neither ? nor #", what)
	default:
		return u
	}
	return nil
}

// prefix reads a path prefix such as /support; "/" is the whole path space and
// returned empty.
func (p *parser) prefix(n yamlnode.Node) string {
	if !p.want(n, "at", yamlnode.Text) {
		return ""
	}
	at := strings.TrimSuffix(n.Text, "/")
	if n.Text == "/" {
		return ""
	}
	if !validPrefix.MatchString(at) || slices.Contains(strings.Split(at, "/"), "..") || slices.Contains(strings.Split(at, "/"), ".") {
		p.fail(n, "at: %s is no prefix; write a path such as /support", yamlnode.Quote(n.Text))
	}
	return at
}

var (
	validPrefix = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
	validName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

// name reads the name of a realm, an upstream or an account. It becomes part of
// paths and keys.
func (p *parser) name(n yamlnode.Node, what string) string {
	if !validName.MatchString(n.Text) {
		p.fail(n, "%s is no name for a %s: letters, digits, dots, dashes and underscores, 64 at most", yamlnode.Quote(n.Text), what)
	}
	return n.Text
}

func (p *parser) prefixes(n yamlnode.Node) (list []netip.Prefix) {
	if !p.want(n, "trusted_proxies", yamlnode.List) {
		return nil
	}
	for _, item := range n.Items {
		prefix, err := netip.ParsePrefix(item.Text)
		if ip, ipErr := netip.ParseAddr(item.Text); ipErr == nil {
			prefix, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			p.fail(item, "%s is no address; write 10.0.0.1 or 10.0.0.0/8", yamlnode.Quote(item.Text))
		}
		list = append(list, prefix)
	}
	return list
}

func (p *parser) duration(n yamlnode.Node, key string) time.Duration {
	v, ok := n.Get(key)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(v.Text)
	if days, ok := strings.CutSuffix(v.Text, "d"); ok {
		n, numErr := strconv.ParseUint(days, 10, 15)
		d, err = time.Duration(n)*24*time.Hour, numErr
	}
	if err != nil || d <= 0 {
		p.fail(v, "%s: %s is no duration; write 30d, 24h, 90m or 30s", key, yamlnode.Quote(v.Text))
	}
	return d
}

func (p *parser) oneOf(n yamlnode.Node, key string, valid ...string) string {
	if !slices.Contains(valid, n.Text) {
		p.fail(n, "unknown %s %s%s", key, yamlnode.Quote(n.Text), yamlnode.Suggest(n.Text, valid))
	}
	return n.Text
}

// text reads a key that must be there.
func (p *parser) text(n, at yamlnode.Node, what, key string) string {
	v, ok := n.Get(key)
	if !ok {
		p.fail(at, "%s: `%s` is missing", what, key)
		return ""
	}
	if !p.want(v, key, yamlnode.Text) {
		return ""
	}
	return v.Text
}

// mapping reports whether n is a mapping with no keys but the valid ones, if
// any are given.
func (p *parser) mapping(n yamlnode.Node, what string, valid ...string) bool {
	if !p.want(n, what, yamlnode.Map) {
		return false
	}
	if len(valid) == 0 {
		return true
	}
	err := n.Only(valid...)
	if err != nil {
		p.errs = append(p.errs, err)
	}
	return err == nil
}

func (p *parser) want(n yamlnode.Node, what string, kinds ...yamlnode.Kind) bool {
	err := n.Want(what, kinds...)
	if err != nil {
		p.errs = append(p.errs, err)
	}
	return err == nil
}

func (p *parser) fail(n yamlnode.Node, format string, args ...any) {
	p.errs = append(p.errs, n.Errorf(format, args...))
}

// path returns a path of the file as seen from the working directory.
func (p *parser) path(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.dir, path)
}
