package guard

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/jetonhq/jeton/dialect"
)

// A forwarded says how a call reached the guard: what the upstream is told in
// X-Forwarded-For, -Host and -Proto.
type forwarded struct {
	hops  []string // the client, and the trusted proxies behind it
	host  string
	proto string
}

// forwarded returns what is known of a call's way. The client is whoever
// connects; if that is a trusted proxy, it is the rightmost address in
// X-Forwarded-For that no trusted proxy has, because whatever stands left of it
// was written by the client. Host and scheme are a trusted proxy's if it says
// one of each.
func (g *Guard) forwarded(r *http.Request) forwarded {
	f := forwarded{host: r.Host, proto: "http"}
	if r.TLS != nil {
		f.proto = "https"
	}
	client := address(r.RemoteAddr)
	if !client.IsValid() {
		return f // a Unix socket has no address
	}
	f.hops = []string{client.String()}
	if !within(client, g.Trusted) {
		return f
	}
	if host := only(r.Header["X-Forwarded-Host"]); host != "" && !strings.ContainsAny(host, notInHost) {
		f.host = host
	}
	if proto := only(r.Header["X-Forwarded-Proto"]); proto == "http" || proto == "https" {
		f.proto = proto
	}
	said := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(said) - 1; i >= 0 && within(client, g.Trusted); i-- {
		hop := address(strings.TrimSpace(said[i]))
		if !hop.IsValid() {
			break // what a proxy did not write as an address says nothing
		}
		client = hop
		f.hops = append(f.hops, client.String())
	}
	slices.Reverse(f.hops) // each stands in front of whom it speaks to
	return f
}

// notInHost are characters by which a host would be read as more than one.
const notInHost = ", \t/@\\?#"

func (f forwarded) set(h http.Header) {
	values := []string{strings.Join(f.hops, ", "), f.host, f.proto} // one piece of memory
	if len(f.hops) > 0 {
		h["X-Forwarded-For"] = values[0:1:1]
	}
	h["X-Forwarded-Host"] = values[1:2:2]
	h["X-Forwarded-Proto"] = values[2:3:3]
}

// forwarding reports whether a header tells of a call's way.
func forwarding(name string) bool {
	const family = "x-forwarded-"
	return len(name) >= len(family) && dialect.SameHeader(name[:len(family)], family) || dialect.SameHeader(name, "x-forwarded") || dialect.SameHeader(name, "forwarded") || dialect.SameHeader(name, "x-real-ip")
}

// only returns the one value of a header, or "".
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

func within(ip netip.Addr, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// address reads an address with or without a port. An IPv4 address that is
// written as an IPv6 one is the IPv4 address. What is none is invalid.
func address(s string) netip.Addr {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().Unmap().WithZone("")
	}
	host := s
	if h, _, err := net.SplitHostPort(s); err == nil {
		host = h
	} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}
