package learn

import (
	"regexp"
	"strings"
)

var (
	requestLine = regexp.MustCompile("(?m)^[ \\t]*(?:[*_#> \\t]*(?i:(?:example |sample )?request)[*_]*:[*_]*[ \\t]*)?[*`]*(GET|POST|PUT|PATCH|DELETE)[ \\t]+(https?://[^\\s`]+|/[^\\s`]*)(?:[ \\t]+HTTP/[0-9.]+)?[*`]*[ \\t]*$")
	formLine    = regexp.MustCompile(`^[A-Za-z_]+=[^\s]+$`)
	anyURL      = regexp.MustCompile(`https?://[^\s"'<>)\x60]+`)
)

// messages finds the requests that a page shows as HTTP rather than as commands:
// a line such as POST /token, headers, a body. One that has neither header nor
// body is prose. They are what curl would be told.
func messages(paste string) []command {
	var list []command
	for _, m := range requestLine.FindAllStringSubmatchIndex(paste, maxCommands) {
		method, target := paste[m[2]:m[3]], paste[m[4]:m[5]]
		headers, rest := messageHeaders(strings.TrimPrefix(paste[m[1]:], "\n"))
		body, rest := messageBody(rest)
		host := ""
		c := command{line: 1 + strings.Count(paste[:m[2]], "\n"), end: len(paste) - len(rest), words: []string{"--request", method}}
		typed := false
		for _, h := range headers {
			switch strings.ToLower(h.name) {
			case "host":
				host = "https://" + h.text
			case "content-length":
			default:
				typed = typed || strings.EqualFold(h.name, "Content-Type")
				c.words = append(c.words, "--header", h.name+": "+h.text)
			}
		}
		if body == "" && (len(headers) == 0 || method != "GET") {
			continue
		}
		if body != "" {
			c.words = append(c.words, "--data-raw", body)
			if !typed && strings.HasPrefix(body, "{") {
				c.words = append(c.words, "--header", "Content-Type: application/json")
			}
		}
		if strings.HasPrefix(target, "/") {
			if host == "" {
				host = hostOf(paste, target)
			}
			if host == "" {
				continue // nobody says where it goes
			}
			target = host + target
		}
		c.words = append(c.words, "--url", target)
		list = append(list, c)
	}
	return list
}

func messageHeaders(text string) (list []pair, rest string) {
	for text != "" {
		line, after, _ := strings.Cut(text, "\n")
		m := headerLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || strings.HasPrefix(m[2], "//") { // a URL
			break
		}
		list, text = append(list, pair{m[1], m[2]}), after
	}
	return list, text
}

// messageBody takes the body that stands first in text, behind blank lines and
// what fences code.
func messageBody(text string) (body, rest string) {
	for at := text; at != ""; {
		line, after, _ := strings.Cut(at, "\n")
		word := strings.TrimSpace(line)
		switch {
		case word == "" || strings.HasPrefix(word, "```"):
			at = after
			continue
		case strings.HasPrefix(word, "{"):
			start := at[strings.IndexByte(at, '{'):]
			if d, behind, _, err := parseJSON(start); err == nil && len(d.kids) > 0 {
				return start[:len(start)-len(behind)], behind
			}
		case formLine.MatchString(word):
			return word, after
		}
		break
	}
	return "", text
}

// hostOf finds the host that a page has before a path elsewhere, else the only
// one that it has.
func hostOf(paste, target string) string {
	path, _, _ := strings.Cut(target, "?")
	hosts := map[string]bool{}
	only := ""
	for _, u := range anyURL.FindAllString(paste, 200) {
		scheme, after, _ := strings.Cut(u, "://")
		name, rest, _ := strings.Cut(after, "/")
		name, _, _ = strings.Cut(name, "?")
		only = scheme + "://" + strings.TrimRight(name, ".,;")
		hosts[only] = true
		rest, _, _ = strings.Cut(strings.TrimRight("/"+rest, ".,;:"), "?")
		if rest == path {
			return only
		}
	}
	if len(hosts) == 1 {
		return only
	}
	return ""
}
