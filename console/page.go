package console

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

//go:embed templates
var files embed.FS

// pages are the templates, each with the layout around it.
var pages = parsePages() // :: name -> template; not written after this

func parsePages() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(template.FuncMap{
		"when": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
		"iso":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).ParseFS(files, "templates/layout.html"))
	parsed := map[string]*template.Template{}
	for _, name := range []string{"message", "sign-in", "overview", "list", "form", "shown", "audit"} {
		parsed[name] = template.Must(template.Must(layout.Clone()).ParseFS(files, "templates/"+name+".html"))
	}
	return parsed
}

// A view is what the layout shows.
type view struct {
	Title  string // the only h1
	Crumbs []link // the way down to this page
	Tabs   []link // the sections of the realm
	Body   any    // what the page's own template shows

	Base string // path of all pages
	CSRF string // empty: nobody is signed in
}

type link struct {
	Text, To string
	Here     bool // it is the page itself
}

// page returns the answer that shows a page to whoever is signed in.
func (v *visit) page(name string, w view) answer {
	w.CSRF = v.csrf
	return answer{page: name, view: w}
}

// A pageError is an error that has a page of its own.
type pageError struct {
	status      int
	title, text string
	allow       string // with 405: the methods
	signIn      bool   // the page says how to sign in
}

func (e *pageError) Error() string { return e.title }

// Text and SignIn are for the template.
func (e pageError) Text() string { return e.text }
func (e pageError) SignIn() bool { return e.signIn }

var (
	errNoPage = &pageError{status: http.StatusNotFound, title: "No such page", text: "There is nothing at this address."}
	errForged = &pageError{status: http.StatusForbidden, title: "Not sent from this page",
		text: "The form does not come from the console, or the session that it belongs to has ended. Nothing was changed. Go back, load the page again and send it once more."}
)

// failure returns the page of an error. An error that has none is a fault of
// ours: it is logged here, and not shown.
func (c *Console) failure(r *http.Request, err error) answer {
	e, ok := errors.AsType[*pageError](err)
	switch refusal, refused := errors.AsType[*jeton.Error](err); {
	case ok:
	case errors.Is(err, store.ErrNotFound):
		e = &pageError{status: http.StatusNotFound, title: "Not found", text: "It does not exist, or not any more."}
	case refused:
		e = &pageError{status: http.StatusUnprocessableEntity, title: "Not done", text: sentence(refusal.Description)}
	default:
		if r.Context().Err() == nil {
			c.logger.ErrorContext(r.Context(), "console page not made", "method", r.Method, "path", r.URL.Path, "err", err)
		}
		e = &pageError{status: http.StatusServiceUnavailable, title: "Not now",
			text: "The console cannot reach its records or cannot write its log. The log of the program says more. What you asked for may or may not have been done: look before you ask again."}
	}
	return answer{status: e.status, allow: e.allow, page: "message", view: view{Title: e.title, Body: *e}}
}

// sentence writes an error's description as people write.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// write sends an answer. A page is made as a whole first, so that no half of one
// is ever sent.
func (c *Console) write(w http.ResponseWriter, a answer) {
	if a.redirect != "" {
		w.Header().Set("Location", a.redirect)
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	var body bytes.Buffer
	switch a.page {
	case "style.css", "icon.svg":
		text, err := files.ReadFile("templates/" + a.page)
		if err != nil {
			panic(err) // the folder is part of the binary
		}
		body.Write(text)
		w.Header().Set("Content-Type", map[string]string{"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}[a.page])
	default:
		a.view.Base = c.base
		if err := pages[a.page].Execute(&body, a.view); err != nil {
			c.logger.Error("console page not made", "page", a.page, "err", err)
			http.Error(w, "The page could not be made.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
	}
	if a.allow != "" {
		w.Header().Set("Allow", a.allow)
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = w.Write(body.Bytes()) // the browser is gone
}
