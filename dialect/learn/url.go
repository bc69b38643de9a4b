package learn

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
)

// url makes templates of the host and of each segment of the path.
func (m *maker) url(r, t, s *request) {
	base := m.base(r.origin() + r.path)
	if u, err := url.Parse(base); base != "" && err == nil {
		t.scheme, t.host = "", hole(m.texts[base])
		s.scheme, s.host = u.Scheme, u.Host
		t.path, s.path = m.path(strings.TrimPrefix(r.origin()+r.path, strings.TrimSuffix(base, "/")))
		s.path = strings.TrimSuffix(u.Path, "/") + s.path
		return
	}
	t.host, s.host = m.host(r.host)
	if t.host == "" {
		t.scheme, s.scheme = "", "https"
		s.host = "origin.example"
	}
	t.path, s.path = m.path(r.path)
}

// base returns the longest URL of an earlier answer that an address begins
// with, or "".
func (m *maker) base(address string) string {
	longest := ""
	for text := range m.texts {
		rest, ok := strings.CutPrefix(address, strings.TrimSuffix(text, "/"))
		if ok && strings.HasPrefix(text, "http") && (rest == "" || rest[0] == '/') && len(text) > len(longest) {
			longest = text
		}
	}
	return longest
}

var (
	yours = regexp.MustCompile(`^(?i:(?:your|my)[-_]?[a-z_-]+|subdomain|sub-domain|company|companyname|mycompany|customer|tenant|instance|account|organization|acme|xxx+)$`)
	whole = regexp.MustCompile(`(?:^|_)(?:url|uri|endpoint|origin)$|^base`)
)

// host returns an empty template where the page leaves the whole origin open.
func (m *maker) host(h string) (template, sample string) {
	if holes := holesIn(h); len(holes) == 1 && holes[0][0] == 0 && holes[0][1] == len(h) {
		name := placeholderName(holeWords(h))
		if _, bound := m.bound[strings.ReplaceAll(name, "_", "")]; !bound && whole.MatchString(name) {
			m.notef("The page leaves the host open: an account gives it as its origin.")
			return "", ""
		}
	}
	h, port, _ := cutOutside(h, ':')
	if port != "" {
		port = ":" + port
	}
	if strings.HasPrefix(h, "[") || jeton.IsLoopback(h) {
		return h + port, h + port
	}
	if len(holesIn(h)) > 0 {
		if t, s, ok := m.composite("host", h, true); ok {
			return t + port, s + port
		}
	}
	labels := strings.Split(h, ".")
	templates, samples := slices.Clone(labels), slices.Clone(labels)
	for i, label := range labels {
		if i >= len(labels)-2 {
			break
		}
		switch name, ok := m.texts[label]; {
		case ok:
			templates[i] = hole(name)
		case yours.MatchString(label):
			name := placeholderName(label)
			if strings.EqualFold(label, "acme") || crossed.MatchString(label) || name == "value" {
				name = "subdomain"
			}
			name, samples[i] = m.bind(name, "subdomain", "", false)
			templates[i] = hole(name)
		case revealing(label) || upperSnake.MatchString(label):
			name, _ := m.bind("subdomain", "subdomain", label, true)
			templates[i] = hole(name)
		}
	}
	return strings.Join(templates, ".") + port, strings.Join(samples, ".") + port
}

// path returns the templates of the segments, unescaped as a dialect file has
// them, and the escaped path that comes out.
func (m *maker) path(p string) (template, sample string) {
	if p == "" {
		return "", ""
	}
	var t, s strings.Builder
	before := ""
	for segment := range strings.SplitSeq(p[1:], "/") {
		template, sample := m.segment(before, segment)
		t.WriteString("/" + template)
		s.WriteString("/" + url.PathEscape(sample))
		before = segment
	}
	return t.String(), s.String()
}

var colonHole = regexp.MustCompile(`^:([A-Za-z_][A-Za-z0-9_]*)$`)

func (m *maker) segment(before, segment string) (template, sample string) {
	plainSegment := segment
	if u, err := url.PathUnescape(segment); err == nil && !percentHole.MatchString(segment) {
		plainSegment = u
	}
	if name, ok := m.texts[plainSegment]; ok {
		return hole(name), plainSegment
	}
	if c := colonHole.FindStringSubmatch(plainSegment); c != nil {
		name, sample := m.bind(placeholderName(c[1]), "", "", false)
		return hole(name), sample
	}
	if len(holesIn(plainSegment)) > 0 {
		if t, s, ok := m.composite(ownerID(before), plainSegment, true); ok {
			return t, s
		}
	}
	loud := upperSnake.MatchString(plainSegment) || talks.MatchString(plainSegment) || crossed.MatchString(plainSegment)
	if called, ok := placeholder(plainSegment); ok && loud {
		if called == "" {
			called = ownerID(before)
		}
		name, sample := m.bind(called, ownerID(before), "", false)
		return hole(name), sample
	}
	if revealing(plainSegment) || plainSegment == "." || plainSegment == ".." {
		name := ownerID(before)
		m.notef("A segment of the path differs from account to account: it became $%s.", name)
		name, sample := m.bind(name, "path_id", plainSegment, true)
		return hole(name), sample
	}
	return literal(plainSegment), plainSegment
}

// ownerID names what stands behind a segment: tenants/1234 is a tenant_id.
func ownerID(before string) string {
	s := snake(before)
	switch {
	case s == "" || regexp.MustCompile(`^(?:api|oauth\d?|auth|v\d+.*|token|rest|login|identity|authentication|realms)$`).MatchString(s) || revealing(s):
		return "tenant_id"
	case strings.HasSuffix(s, "ies"):
		s = strings.TrimSuffix(s, "ies") + "y"
	case strings.HasSuffix(s, "s"):
		s = strings.TrimSuffix(s, "s")
	}
	return s + "_id"
}
