package learn

import (
	"fmt"
	"regexp"
	"strings"
)

// setBody says what the data of the command is.
func (l *line) setBody(r *request) error {
	if len(l.data) == 0 {
		return nil
	}
	var plain []string
	named := false
	for _, d := range l.data {
		if d.name == "" {
			plain = append(plain, d.text)
		} else {
			named = true
		}
	}
	if l.get {
		r.query = append(r.query, fields(l.data)...)
		return nil
	}
	contentType := strings.ToLower(r.header("Content-Type"))
	whole := strings.TrimSpace(strings.Join(plain, "&"))
	switch {
	case named || l.multi:
		r.body, r.form, r.multi = bodyForm, fields(l.data), l.multi
		return nil
	case l.json || strings.Contains(contentType, "json"):
		d, loose, err := readJSON(whole)
		if err != nil && strings.Contains(whole, "=") && !strings.HasPrefix(whole, "{") {
			r.body, r.form = bodyForm, fields(l.data) // a page that names the wrong type
			return nil
		}
		if err != nil {
			return fmt.Errorf("the body of the curl command: %w", err)
		}
		r.body, r.doc, r.loose = bodyJSON, d, loose
		return nil
	}
	return r.guessBody(whole, contentType, fields(l.data))
}

// escapedJSON matches JSON whose quotes all have a backslash, as PowerShell wants
// it also in single quotes.
var escapedJSON = regexp.MustCompile(`^[\[{\s]*\\"`)

// readJSON reads a body that is one JSON document.
func readJSON(body string) (d *doc, loose bool, err error) {
	escaped := escapedJSON.MatchString(body)
	if escaped {
		body = strings.NewReplacer(`\\\"`, `\"`, `\"`, `"`).Replace(body)
	}
	d, rest, loose, err := parseJSON(body)
	if err == nil && strings.TrimSpace(rest) != "" {
		err = errJSON
	}
	return d, loose || escaped, err
}

// guessBody reads a body whose type the page does not say, or not rightly.
func (r *request) guessBody(whole, contentType string, fields []pair) error {
	if strings.HasPrefix(whole, "{") || strings.HasPrefix(whole, "[") {
		if d, loose, err := readJSON(whole); err == nil && d.kind != docText {
			r.body, r.doc, r.loose = bodyJSON, d, loose
			return nil
		}
	}
	if strings.HasPrefix(whole, "<") && (strings.Contains(contentType, "xml") || strings.Contains(whole, "</")) {
		d, err := parseXML(whole)
		if err != nil {
			return fmt.Errorf("the body of the curl command: %w", err)
		}
		r.body, r.doc = bodyXML, d
		return nil
	}
	if strings.Contains(whole, "=") || whole == "" {
		r.body, r.form = bodyForm, fields
		return nil
	}
	r.body, r.text = bodyText, whole
	return nil
}

// fields reads the data of options as names and texts.
func fields(data []pair) []pair {
	var list []pair
	for _, d := range data {
		if d.name == "" {
			list = append(list, parseForm(d.text)...)
		} else {
			list = append(list, pair{d.name[1:], d.text})
		}
	}
	return list
}
