package corpus

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// flatten returns what a vendor looks at in a request, by place: "method",
// "host", "path", "query a", "header a", "form a", "json a.b", "xml a.b". Places
// do not depend on the order, nor on how something is encoded.
func flatten(r *http.Request) (map[string]string, error) {
	flat := map[string]string{"method": r.Method, "host": r.URL.Scheme + "://" + r.URL.Host, "path": r.URL.Path}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	for name, values := range query {
		flat["query "+name] = strings.Join(values, "\n")
	}
	for name, values := range r.Header {
		text := strings.Join(values, "\n")
		if pair, ok := strings.CutPrefix(text, "Basic "); ok {
			b, err := base64.StdEncoding.DecodeString(pair)
			if err != nil {
				return nil, err
			}
			text = "Basic " + string(b)
		}
		flat["header "+strings.ToLower(name)] = text
	}
	if r.Body == nil {
		return flat, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || len(body) == 0 {
		return flat, err
	}
	return flat, flattenBody(flat, r.Header.Get("Content-Type"), body)
}

func flattenBody(flat map[string]string, contentType string, body []byte) error {
	switch contentType {
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return err
		}
		for name, values := range form {
			flat["form "+name] = strings.Join(values, "\n")
		}
		return nil
	case "application/json":
		var doc any
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		if err := d.Decode(&doc); err != nil {
			return err
		}
		flattenJSON(flat, "json ", doc)
		return nil
	case "application/xml":
		return flattenXML(flat, body)
	}
	return fmt.Errorf("a body of the type %s", contentType)
}

func flattenJSON(flat map[string]string, place string, doc any) {
	switch doc := doc.(type) {
	case map[string]any:
		if !strings.HasSuffix(place, " ") {
			place += "."
		}
		for key, v := range doc {
			flattenJSON(flat, place+key, v)
		}
	case []any:
		for i, v := range doc {
			flattenJSON(flat, fmt.Sprintf("%s[%d]", place, i), v)
		}
	default:
		flat[place] = fmt.Sprint(doc)
	}
}

func flattenXML(flat map[string]string, body []byte) error {
	d := xml.NewDecoder(bytes.NewReader(body))
	var path []string
	leaf := false // the innermost element has nothing in it yet but text
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			path, leaf = append(path, t.Name.Local), true
			for _, a := range t.Attr {
				flat["xml "+strings.Join(path, ".")+".$"+a.Name.Local] = a.Value
			}
		case xml.CharData:
			if text := string(t); strings.TrimSpace(text) != "" {
				flat["xml "+strings.Join(path, ".")] = text
				leaf = false
			}
		case xml.EndElement:
			if leaf {
				flat["xml "+strings.Join(path, ".")] = ""
			}
			path, leaf = path[:len(path)-1], false
		}
	}
}
