package learn

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// An answer is an HTTP answer as a page shows it.
type answer struct {
	status  int // zero: the page does not say
	headers []pair
	doc     *doc // of JSON and XML
	xml     bool
	loose   bool   // the page's JSON is not quite JSON
	html    bool   // a page for people, whose text does not count
	raw     string // of XML
	text    string // of another body
}

// An exchange is a request and, if the paste has one, its answer.
type exchange struct {
	request *request
	answer  *answer
}

// maxPaste is more than any page has, and little enough to read with patience.
const maxPaste = 256 << 10

// parsePaste finds the curl commands of a paste and the answer to each.
func parsePaste(paste string) ([]exchange, error) {
	if len(paste) > maxPaste {
		return nil, errors.New("the paste is larger than 256 KiB: leave out what is neither the commands nor their answers")
	}
	paste = strings.ToValidUTF8(paste, "")
	paste = tidy(paste)
	found, err := commands(paste)
	if err != nil {
		return nil, err
	}
	list, err := exchanges(paste, found)
	if err != nil || slices.ContainsFunc(list, func(e exchange) bool { return loginScore(e) > 0 }) {
		return list, err
	}
	// No command logs in: the page may show it as HTTP.
	found = append(found, messages(paste)...)
	if len(found) == 0 {
		return nil, errors.New("the paste has no curl command")
	}
	slices.SortStableFunc(found, func(a, b command) int { return cmp.Compare(a.line, b.line) })
	return exchanges(paste, found)
}

// exchanges reads commands, and what stands behind each as its answer.
func exchanges(paste string, found []command) ([]exchange, error) {
	var list []exchange
	for i, c := range found {
		r, err := parseCurl(c)
		if err != nil {
			return nil, err
		}
		end := len(paste)
		if i+1 < len(found) {
			end = lineStart(paste, found[i+1].line)
		}
		list = append(list, exchange{r, findAnswer(paste[min(c.end, end):end])})
	}
	return list, nil
}

func lineStart(text string, line int) int {
	at := 0
	for ; line > 1; line-- {
		at += strings.IndexByte(text[at:], '\n') + 1
	}
	return at
}

var (
	statusLine = regexp.MustCompile(`(?m)^[ \t]*(?:< )?HTTP/[0-9.]+ ([1-5][0-9][0-9])\b[^\n]*\n`)
	headerLine = regexp.MustCompile(`^(?:< )?([A-Za-z0-9-]+):[ \t]*(.*)$`)
	bareWord   = regexp.MustCompile(`^["']?[A-Za-z0-9._~+/=-]{16,}["']?$`)
	htmlPage   = regexp.MustCompile(`(?is)^<(?:!doctype\s+html|html)\b.*?(?:</html\s*>|$)`)
	formAnswer = regexp.MustCompile(`^[A-Za-z_]+=[^&\s]+(?:&[A-Za-z_]+=[^&\s]*)+$`)
	talk       = regexp.MustCompile(`(?m)^(?:[*>{}] .*|[*>]|< ?$)$\n?`) // of curl -v
)

// findAnswer finds the first answer in the text between two commands that
// could hold a token, else the first one; nil if there is none.
func findAnswer(text string) *answer {
	if strings.Contains(text, "\n< HTTP/") || strings.HasPrefix(text, "< HTTP/") {
		text = talk.ReplaceAllStringFunc(text, func(line string) string {
			if strings.HasPrefix(line, "<") {
				return "\n" // ends the headers
			}
			return ""
		})
	}
	var first *answer
	for range 8 {
		a, rest := nextAnswer(text)
		if a == nil {
			break
		}
		if len(tokens(a)) > 0 {
			return a
		}
		if first == nil {
			first = a
		}
		text = rest
	}
	return first
}

// nextAnswer reads the answer that stands first in text.
func nextAnswer(text string) (*answer, string) {
	a := &answer{}
	if m := statusLine.FindStringSubmatchIndex(text); m != nil && !strings.Contains(text[:m[0]], "\n{") {
		a.status, _ = strconv.Atoi(text[m[2]:m[3]])
		text = a.readHeaders(text[m[1]:])
	}
	if a.readBody(&text) || a.status != 0 {
		return a, text
	}
	return nil, ""
}

func (a *answer) readHeaders(text string) string {
	for text != "" {
		line, rest, _ := strings.Cut(text, "\n")
		m := headerLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			return text
		}
		a.headers = append(a.headers, pair{m[1], strings.TrimSpace(m[2])})
		text = rest
	}
	return ""
}

// readBody finds a body in text and cuts text behind it.
func (a *answer) readBody(text *string) bool {
	tries := 64 // what looks like a document and is none is read to its end
	for rest := *text; rest != "" && tries > 0; {
		line, after, _ := strings.Cut(rest, "\n")
		start := rest[len(line)-len(strings.TrimLeft(line, " \t`")):]
		if i := strings.Index(line, "{\""); i > 0 && strings.IndexByte("[{<", firstByte(start)) < 0 {
			start = rest[i:] // behind "Response:"
		}
		word := strings.Trim(strings.TrimSpace(line), "`")
		switch {
		case strings.HasPrefix(start, "{") || strings.HasPrefix(start, "["):
			tries--
			if d, behind, loose, err := parseJSON(start); err == nil && len(d.kids) > 0 {
				a.doc, a.loose, *text = d, loose, behind
				return true
			}
		case htmlPage.MatchString(start):
			a.html, *text = true, start[len(htmlPage.FindString(start)):]
			return true
		case strings.HasPrefix(start, "<") && strings.Contains(start, "</"):
			tries--
			end := strings.LastIndexByte(start, '>') + 1
			if d, err := parseXML(start[:end]); err == nil {
				a.doc, a.xml, a.raw, *text = d, true, start[:end], start[end:]
				return true
			}
		case bareWord.MatchString(word) && strings.ContainsAny(word, "0123456789") && !strings.HasPrefix(word, "/"),
			formAnswer.MatchString(word):
			a.text, *text = word, after
			return true
		}
		rest = after
	}
	return false
}

func firstByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}
