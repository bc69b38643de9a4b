package console

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/issuer"
)

type realmRow struct {
	Name, Open, Dialect, URL string
	Sections                 []link
}

// overview shows the realms.
func (c *Console) overview(v *visit) (answer, error) {
	if err := only(v.Request, http.MethodGet); err != nil {
		return answer{}, err
	}
	var rows []realmRow
	for _, realm := range c.realms {
		row := realmRow{Name: realm.Name(), Open: c.path(realm), Dialect: realm.Dialect().Name, URL: realm.URL()}
		for _, s := range sectionsOf(realm) {
			if !tenanted(realm) || s.path == tenantsPath {
				row.Sections = append(row.Sections, link{Text: s.title, To: c.path(realm, s.path)})
			}
		}
		row.Sections = append(row.Sections, link{Text: "Audit log", To: c.path(realm, "audit")})
		rows = append(rows, row)
	}
	return v.page("overview", view{Title: "Realms", Body: rows}), nil
}

type auditView struct {
	Entries     []audit.Entry
	First, Next string // addresses; empty: none
	Everything  bool   // of all realms
}

// auditLog shows the newest entries about a realm, or about everything if that
// is nil.
func (c *Console) auditLog(v *visit, realm *issuer.Realm) (answer, error) {
	if err := only(v.Request, http.MethodGet); err != nil {
		return answer{}, err
	}
	w := view{Title: "Audit log", Crumbs: []link{{Text: "Realms", To: c.base}}}
	here, query := c.base+"audit", audit.Query{Limit: pageSize + 1}
	if realm != nil {
		p := &place{visit: v, console: c, realm: realm}
		w = p.view("Audit log", nil)
		w.Tabs[len(w.Tabs)-1].Here = true
		here, query.Realm = c.path(realm, "audit"), realm.Name()
	}
	if before := v.URL.Query().Get("before"); before != "" {
		n, err := strconv.ParseInt(before, 10, 64)
		if err != nil || n < 1 {
			return answer{}, errNoPage
		}
		query.Before = n
	}
	entries, err := c.log.List(v.Context(), query)
	if err != nil {
		return answer{}, err
	}
	a := auditView{Everything: realm == nil}
	if query.Before > 0 {
		a.First = here
	}
	if len(entries) > pageSize {
		entries = entries[:pageSize]
		a.Next = here + "?" + url.Values{"before": {strconv.FormatInt(entries[pageSize-1].ID, 10)}}.Encode()
	}
	a.Entries = entries
	w.Body = a
	return v.page("audit", w), nil
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }
