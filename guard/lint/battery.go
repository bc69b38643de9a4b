package lint

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
)

// A request is sent as it stands.
type request struct {
	method string // empty: GET
	target string
	lines  string // of the header, each with CR LF
	body   string
	token  bool // wears the token
	hidden bool // hides another request in its body
}

func (r request) verb() string {
	if r.method == "" {
		return http.MethodGet
	}
	return r.method
}

// text is what goes over the wire.
func (r request) text(host string, token jeton.Secret) string {
	lines := r.lines
	if !strings.Contains(lines, "Host:") {
		lines = "Host: " + host + "\r\n" + lines
	}
	if !strings.Contains(lines, "User-Agent:") {
		lines += "User-Agent: jeton-guard-lint\r\n"
	}
	if r.token {
		lines += "Authorization: Bearer " + token.Reveal() + "\r\n"
	}
	return r.verb() + " " + r.target + " HTTP/1.1\r\n" + lines + "Accept: */*\r\n\r\n" + r.body
}

// String is the request without its token, on one line.
func (r request) String() string {
	return strings.Join(append([]string{r.verb() + " " + r.target}, strings.Split(strings.TrimSuffix(r.lines, "\r\n"), "\r\n")...), " | ")
}

// A probe is a request that must not get through.
type probe struct {
	group, name string
	request
	base     *request // the same without the trick: what that gets is public
	harmless bool     // many let it through on purpose
}

// marker returns a word that nobody else sends.
func marker() string { return strings.ToLower(rand.Text()[:12]) }

// nobody are the probes that wear no good token.
func nobody(l *Linter) []probe {
	var all []probe
	paths := spellings(l.Path)
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		all = append(all, probe{group: "path", name: name, request: request{target: paths[name]}})
	}
	for _, target := range []string{"http://" + l.URL.Host + l.Path, "http://localhost" + l.Path} {
		all = append(all, probe{group: "path", name: "absolute form", request: request{target: target}})
	}
	for _, method := range []string{"HEAD", "POST", "PROPFIND", "JETON", "get"} {
		all = append(all, probe{group: "method", name: method, request: request{method: method, target: l.Path, lines: "Content-Length: 0\r\n"}})
	}
	for _, method := range []string{"OPTIONS", "TRACE"} {
		all = append(all, probe{group: "method", name: method, request: request{method: method, target: l.Path}, harmless: true})
	}
	all = append(all, misled(l)...)
	for _, lines := range []string{
		"Authorization: Bearer", "Authorization: Bearer null", "Authorization: Bearer undefined", "Authorization: Basic Og==",
		"Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsImV4cCI6OTk5OTk5OTk5OX0.",
		"Authorization: Bearer x, Bearer y", "Proxy-Authorization: Bearer x", "X-Api-Key: x", "Cookie: access_token=x; session=x",
	} {
		all = append(all, probe{group: "credential", name: strings.SplitN(lines, ":", 2)[0], request: request{target: l.Path, lines: lines + "\r\n"}})
	}
	all = append(all, probe{group: "credential", name: "in the query", request: request{target: l.Path + "?access_token=x"}})
	for _, name := range l.identity() {
		for _, spelling := range aliases(name) {
			all = append(all, probe{group: "identity", name: spelling, request: request{target: l.Path, lines: spelling + ": admin\r\n"}})
		}
	}
	return append(all, framed(l.URL.Host, l.Path)...)
}

// spellings are other ways to write a path, which somebody may read as the path
// itself and somebody else as another one. :: name -> target
func spellings(path string) map[string]string {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	deep := path // with a slash or a letter in disguise somewhere inside
	if rest != "" {
		deep = "/" + first + "%2f" + rest
	}
	letter := path
	if path != "/" {
		letter = fmt.Sprintf("/%%%02x%s", path[1], path[2:])
	}
	return map[string]string{
		"two slashes in front": "/" + path, "two slashes inside": strings.ReplaceAll(path, "/", "//"), "a dot segment": "/." + path,
		"up and down": "/x/.." + path, "encoded dots": "/x/%2e%2e" + path, "half encoded dots": "/x/.%2e" + path, "dots encoded twice": "/x/%252e%252e" + path,
		"an encoded slash": deep, "an encoded slash behind": "/x%2f.." + path, "a slash encoded twice": strings.Replace(deep, "%2f", "%252f", 1),
		"a backslash": strings.ReplaceAll(path, "/", `\`), "an encoded backslash": "/x%5c.." + path, "an encoded letter": letter,
		"capitals": strings.ToUpper(path), "a slash behind": strings.TrimSuffix(path, "/") + "/", "a dot behind": path + "/.", "a dot in the name": path + ".",
		"a parameter": path + ";x=y", "an empty parameter": path + ";", "a parameter in front": "/x;/.." + path, "dots with a parameter": "/x/..;" + path,
		"a NUL": path + "%00", "a NUL and more": path + "%00.css", "a space": path + "%20", "a line end": path + "%0d%0a", "a fragment": path + "#x", "an encoded fragment": path + "%23x",
		"an encoded question mark": path + "%3fx", "an extension": path + ".json", "a style sheet": path + "/x.css", "down and up": path + "/x/..", "down and up, encoded": path + "/x/%2e%2e",
		"overlong dots": "/x/%c0%ae%c0%ae" + path, "a query": path + "?/public", "a public path in front": "/public/.." + path, "health in front": "/healthz/.." + path, "static in front, encoded": "/static/%2e%2e" + path,
	}
}

// openPaths are paths that many leave open.
var openPaths = []string{"/", "/health", "/healthz", "/favicon.ico", "/robots.txt", "/login", "/public/x", "/static/x.css"}

// misled are requests that say in a header that they are something else.
func misled(l *Linter) []probe {
	var all []probe
	open := openPaths
	if l.Allow != "" {
		open = append([]string{l.Allow}, open...)
	}
	for _, name := range []string{"X-Forwarded-Uri", "X-Forwarded-Path", "X-Original-URI", "X-Original-URL", "X-Rewrite-URL", "X_Forwarded_Uri", "X_Original_URI", "X-Envoy-Original-Path"} {
		for _, path := range open {
			all = append(all, probe{group: "header", name: name, request: request{target: l.Path, lines: name + ": " + path + "\r\n"}})
		}
	}
	for _, name := range []string{"X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri", "X-Original-URI", "X-Forwarded-Prefix"} {
		all = append(all, probe{group: "header", name: name + " the other way", request: request{target: "/", lines: name + ": " + l.Path + "\r\n"}, base: &request{target: "/"}})
	}
	for _, lines := range []string{
		"X-Forwarded-Method: OPTIONS", "X-Original-Method: OPTIONS", "X-HTTP-Method-Override: OPTIONS", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "X-Client-IP: 127.0.0.1",
		"Forwarded: for=127.0.0.1", "X-Forwarded-Host: localhost", "X-Forwarded-Proto: https", "Host: localhost", "Host: 127.0.0.1",
		"User-Agent: GoogleHC/1.0", "User-Agent: kube-probe/1.29", "User-Agent: ELB-HealthChecker/2.0", "Connection: Authorization", "Connection: close, X-Forwarded-Uri, X-Original-URI",
		"Connection: Upgrade\r\nUpgrade: websocket", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
	} {
		all = append(all, probe{group: "header", name: strings.SplitN(lines, ":", 2)[0], request: request{target: l.Path, lines: lines + "\r\n"}})
	}
	return all
}

// framed are messages of which two readers may think that they end in two
// places.
func framed(host, path string) []probe {
	hidden := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: jeton-guard-lint\r\n\r\n"
	var all []probe
	framings := map[string][2]string{ // :: name -> header and body
		"length and chunks":          {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"},
		"two lengths":                {"Content-Length: 0\r\nContent-Length: 1\r\n", ""},
		"a space before the colon":   {"Transfer-Encoding : chunked\r\nContent-Length: 0\r\n", ""},
		"an unknown encoding":        {"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n", ""},
		"chunks with bare line ends": {"Transfer-Encoding: chunked\r\n", "0\n\n"},
		"a folded line":              {"X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", ""},
		"two hosts":                  {"Host: localhost\r\nHost: " + host + "\r\nContent-Length: 0\r\n", ""},
	}
	for _, name := range slices.Sorted(maps.Keys(framings)) {
		f := framings[name]
		all = append(all, probe{group: "framing", name: name, request: request{method: "POST", target: path, lines: f[0], body: f[1] + hidden, hidden: true}})
	}
	return all
}

// aliases are other ways to write a header's name that some receiver takes for
// it.
func aliases(name string) []string {
	return []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(strings.ToLower(name), "-", "_"), strings.ReplaceAll(name, "-", ".")}
}

func (l *Linter) identity() []string {
	if l.Identity == nil {
		return []string{"X-Auth-Subject", "X-Auth-Client", "X-Auth-Tenant", "X-Auth-Scope", "X-Auth-Issuer"}
	}
	return l.Identity
}
