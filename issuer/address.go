package issuer

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientIP returns the address that a request is counted under: that of the
// connection, unless the peer is a trusted proxy. Then it is the rightmost
// address of X-Forwarded-For that no trusted proxy has, because whatever stands
// left of that one was written by the client. It is the zero Addr if the
// connection has no address, as on a Unix socket.
func clientIP(r *http.Request, trusted []netip.Prefix) netip.Addr {
	ip := parseIP(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && isTrusted(ip, trusted); i-- {
		hop := parseIP(strings.TrimSpace(hops[i]))
		if !hop.IsValid() {
			break // what a proxy did not write as an address says nothing
		}
		ip = hop
	}
	return ip
}

func isTrusted(ip netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if ip.IsValid() && p.Contains(ip) {
			return true
		}
	}
	return false
}

// parseIP reads an address with or without a port. An IPv4 address that is
// written as an IPv6 one is the IPv4 address.
func parseIP(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}

// network is what limits count addresses by. One customer has a whole /64 of
// IPv6 addresses, so that is one address here.
func network(ip netip.Addr) string {
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	if !ip.IsValid() {
		return "local"
	}
	return ip.String()
}
