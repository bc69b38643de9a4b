package console

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
)

func TestPaging(t *testing.T) {
	b := open(t, base)
	w, d := b.signedIn(), b.realms["iadvize"].Directory()
	const n = 2*pageSize + 1
	for i := range n {
		if _, err := d.AddUser(t.Context(), "test", directory.User{Name: fmt.Sprintf("User %03d", i)}, jeton.NewSecret("x")); err != nil {
			t.Fatal(err)
		}
	}
	for path, row := range map[string]string{"/console/realms/iadvize/users": `<th scope="row">User `, "/console/realms/iadvize/audit": `<td data-label="Target">`} {
		rows, pages := 0, 1
		page := w.get(path)
		for ; ; pages++ {
			want(t, page, http.StatusOK)
			rows += strings.Count(page.body, row)
			if !strings.Contains(page.body, ">Next page<") {
				break
			}
			page = w.get(page.follow(t, path+"?"))
		}
		if rows != n || pages != 3 || !strings.Contains(page.body, ">First page<") {
			t.Errorf("%s: %d rows on %d pages", path, rows, pages)
		}
	}
	for _, before := range []string{"x", "-1", "0", "99999999999999999999"} {
		want(t, w.get("/console/audit?before="+before), http.StatusNotFound)
	}
}

// TestAuditOfRealm: a realm's page shows that realm's entries only, and the
// page of all shows the console's own too.
func TestAuditOfRealm(t *testing.T) {
	b := open(t, base)
	w := b.signedIn()
	w.post("/console/realms/iadvize/users/new", "name", "ann-of-iadvize")
	if body := w.get("/console/realms/web1on1/audit").body; strings.Contains(body, "ann-of-iadvize") || !strings.Contains(body, "no entry yet") {
		t.Error("a realm's log shows another's")
	}
	want(t, w.get("/console/realms/iadvize/audit"), http.StatusOK, "ann-of-iadvize", "user.add", "console")
	want(t, w.get("/console/audit"), http.StatusOK, "ann-of-iadvize", "session.create", "192.0.2.7")
}
