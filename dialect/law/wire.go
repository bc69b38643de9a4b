package law

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// A wire is a request as a server gets it.
type wire struct {
	r    *http.Request
	body []byte
}

// carry writes a request to its wire text and reads it as a server does, below
// the prefix that the origin has.
func carry(r *http.Request, prefix string) (wire, error) {
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		return wire{}, err
	}
	server, err := http.ReadRequest(bufio.NewReader(&text))
	if err != nil {
		return wire{}, err
	}
	body, err := io.ReadAll(server.Body)
	if err != nil {
		return wire{}, err
	}
	path, ok := strings.CutPrefix(server.URL.EscapedPath(), prefix)
	if !ok {
		return wire{}, errors.New("the path does not begin with that of the origin")
	}
	if server.URL.Path, err = url.PathUnescape(path); err != nil {
		return wire{}, err
	}
	server.URL.RawPath = path
	return wire{server, body}, nil
}

// show lets the connection have a client's certificate, if there is one.
func (w wire) show(certificate *tls.Certificate) error {
	if certificate == nil {
		return nil
	}
	shown, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		return err
	}
	w.r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{shown}}
	return nil
}

// list reports whether what stands as the bearer token is a list, or has a
// scheme of its own.
func (w wire) list() bool {
	token, ok := strings.CutPrefix(w.r.Header.Get("Authorization"), "Bearer ")
	return ok && strings.ContainsAny(token, ", \t")
}

// clone returns a copy that can be changed.
func (w wire) clone() wire {
	r := w.r.Clone(w.r.Context())
	return wire{r, slices.Clone(w.body)}
}

// equal reports whether the messages say the same.
func (w wire) equal(v wire) bool {
	return w.r.URL.RequestURI() == v.r.URL.RequestURI() && bytes.Equal(w.body, v.body) &&
		maps.EqualFunc(w.r.Header, v.r.Header, slices.Equal)
}

// A leaf is a place in a message that can be changed by itself. Its name says
// where: "header x-api-key", "form client_id", "json site.name".
type leaf struct {
	name   string
	change func(w *wire, how func(string) string)
}

// plumbing are headers that no dialect writes, or that say how and not what.
var plumbing = []string{"User-Agent", "Content-Length", "Content-Type", "Accept", "Accept-Encoding", "Connection", "Host", "Transfer-Encoding"}

// leaves returns every place of a request.
func (w wire) leaves() []leaf {
	var list []leaf
	for i, segment := range strings.Split(w.r.URL.EscapedPath(), "/") {
		if segment != "" {
			list = append(list, leaf{"path " + strconv.Itoa(i), func(w *wire, how func(string) string) { w.changePath(i, how) }})
		}
	}
	for _, name := range sortedKeys(w.r.URL.Query()) {
		list = append(list, leaf{"query " + name, func(w *wire, how func(string) string) {
			w.r.URL.RawQuery = changeParameter(w.r.URL.RawQuery, name, how)
		}})
	}
	for _, name := range sortedKeys(w.r.Header) {
		switch {
		case slices.Contains(plumbing, name):
		case name == "Cookie":
			for _, c := range w.r.Cookies() {
				list = append(list, leaf{"cookie " + c.Name, func(w *wire, how func(string) string) { w.changeCookie(c.Name, how) }})
			}
		default:
			list = append(list, leaf{"header " + strings.ToLower(name), func(w *wire, how func(string) string) {
				w.r.Header.Set(name, changeHeader(w.r.Header.Get(name), how))
			}})
		}
	}
	return append(list, w.bodyLeaves()...)
}

func (w wire) bodyLeaves() []leaf {
	var list []leaf
	kind, _, _ := strings.Cut(w.r.Header.Get("Content-Type"), ";")
	switch {
	case len(w.body) == 0:
	case kind == "application/x-www-form-urlencoded":
		form, _ := url.ParseQuery(string(w.body))
		for _, name := range sortedKeys(form) {
			list = append(list, leaf{"form " + name, func(w *wire, how func(string) string) {
				w.body = []byte(changeParameter(string(w.body), name, how))
			}})
		}
	case strings.Contains(kind, "json"):
		for i, path := range jsonLeaves(w.body) {
			list = append(list, leaf{"json " + path, func(w *wire, how func(string) string) { w.body = changeJSON(w.body, i, how) }})
		}
	case strings.Contains(kind, "xml"):
		for i, path := range xmlLeaves(w.body) {
			list = append(list, leaf{"xml " + path, func(w *wire, how func(string) string) { w.body = changeXML(w.body, i, how) }})
		}
	default:
		list = append(list, leaf{"text", func(w *wire, how func(string) string) { w.body = []byte(how(string(w.body))) }})
	}
	return list
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func (w *wire) changePath(i int, how func(string) string) {
	segments := strings.Split(w.r.URL.EscapedPath(), "/")
	text, err := url.PathUnescape(segments[i])
	if err != nil {
		return
	}
	segments[i] = url.PathEscape(how(text))
	w.r.URL.RawPath = strings.Join(segments, "/")
	if path, err := url.PathUnescape(w.r.URL.RawPath); err == nil {
		w.r.URL.Path = path
	}
}

// changeParameter changes the value of one parameter and leaves the others as
// they are.
func changeParameter(encoded, name string, how func(string) string) string {
	pairs := strings.Split(encoded, "&")
	for i, pair := range pairs {
		key, text, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(key); err != nil || k != name {
			continue
		}
		if text, err := url.QueryUnescape(text); err == nil {
			pairs[i] = key + "=" + url.QueryEscape(how(text))
		}
		break
	}
	return strings.Join(pairs, "&")
}

// changeHeader changes a header's text: in Basic credentials what they encode,
// after a scheme what follows it.
func changeHeader(text string, how func(string) string) string {
	scheme, rest, ok := strings.Cut(text, " ")
	if b, err := base64.StdEncoding.DecodeString(rest); ok && scheme == "Basic" && err == nil {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(how(string(b))))
	}
	if ok && scheme == "Bearer" {
		return "Bearer " + how(rest)
	}
	return how(text)
}

func (w *wire) changeCookie(name string, how func(string) string) {
	cookies := w.r.Cookies()
	w.r.Header.Del("Cookie")
	for _, c := range cookies {
		if c.Name == name {
			c.Value = how(c.Value)
		}
		w.r.AddCookie(c)
	}
}

// jsonLeaves returns the paths of what is neither an object nor a list.
func jsonLeaves(body []byte) []string {
	var list []string
	_ = walkJSON(body, func(path string, v any) any { list = append(list, path); return v })
	return list
}

// changeJSON changes the leaf of that number.
func changeJSON(body []byte, number int, how func(string) string) []byte {
	at := -1
	doc := walkJSON(body, func(_ string, v any) any {
		if at++; at != number {
			return v
		}
		switch v := v.(type) {
		case string:
			return how(v)
		case json.Number:
			return json.Number(otherDigit(v.String()))
		case bool:
			return !v
		}
		return "something" // in place of null
	})
	b, err := json.Marshal(doc)
	if err != nil {
		return body
	}
	return b
}

func otherDigit(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= '1' && c <= '8' {
			b[i] = c + 1
			return string(b)
		}
	}
	return "7" + s
}

func walkJSON(body []byte, f func(path string, v any) any) any {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc any
	if d.Decode(&doc) != nil {
		return nil
	}
	var walk func(path string, v any) any
	walk = func(path string, v any) any {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range sortedKeys(v) {
				v[key] = walk(strings.TrimPrefix(path+"."+key, "."), v[key])
			}
			return v
		case []any:
			for i := range v {
				v[i] = walk(path+"["+strconv.Itoa(i)+"]", v[i])
			}
			return v
		}
		return f(path, v)
	}
	return walk("", doc)
}

// xmlLeaves returns the paths of texts and attributes.
func xmlLeaves(body []byte) []string {
	var list []string
	_ = walkXML(body, func(path, text string) string { list = append(list, path); return text })
	return list
}

func changeXML(body []byte, number int, how func(string) string) []byte {
	at := -1
	return walkXML(body, func(_, text string) string {
		if at++; at != number {
			return text
		}
		return how(text)
	})
}

func walkXML(body []byte, f func(path, text string) string) []byte {
	var out bytes.Buffer
	d, e := xml.NewDecoder(bytes.NewReader(body)), xml.NewEncoder(&out)
	var path []string
	for {
		token, err := d.Token()
		if err != nil {
			break
		}
		switch t := token.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
			for i := range t.Attr {
				t.Attr[i].Value = f(strings.Join(path, ".")+".@"+t.Attr[i].Name.Local, t.Attr[i].Value)
			}
			token = t
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				token = xml.CharData(f(strings.Join(path, "."), string(t)))
			}
		case xml.ProcInst:
			continue // the encoder wants it first
		}
		if e.EncodeToken(token) != nil {
			return body
		}
	}
	if e.Flush() != nil {
		return body
	}
	return out.Bytes()
}

// another changes one character in the middle of a text.
func another(text string) string { return changeFrom(text, len(text)/2) }

// changeFrom changes the first letter or digit from a place on, or adds one.
func changeFrom(text string, at int) string {
	for i := at; i < len(text); i++ {
		if c := text[i]; c >= 'a' && c < 'z' || c >= 'A' && c < 'Z' || c >= '0' && c < '9' {
			return text[:i] + string(c+1) + text[i+1:]
		}
	}
	return text + "x"
}
