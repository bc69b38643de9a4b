package sample

import (
	_ "embed"
	"net/http"
	"strings"

	"github.com/graph-gophers/graphql-go"
)

//go:embed altrata.graphql
var altrataSchema string

// Altrata returns the API of an Altrata realm: the same GraphQL at /v1/graphql
// and at /v1/graphiql/.
func Altrata() http.Handler {
	north := &organization{ID: "10", Name: "Northwind Bank", Country: "NO"}
	tides := &organization{ID: "20", Name: "Tides Foundation Trust", Country: "PT"}
	a := &altrata{
		organizations: []*organization{north, tides},
		profiles: []*profile{
			{"1", "Astrid Berg", "Chief Executive", north},
			{"2", "Jonas Lie", "Chair of the Board", north},
			{"3", "Inês Duarte", "Trustee", tides},
			{"4", "Rui Alves", "Chief Executive", tides},
			{"5", "Marta Reis", "Trustee", tides},
		},
	}
	for _, p := range a.profiles {
		p.Organization.People = append(p.Organization.People, p)
	}
	return newGraph(altrataSchema, a, "/v1/graphql", "/v1/graphiql/")
}

// altrata does not change once it is made.
type altrata struct {
	profiles      []*profile
	organizations []*organization
}

type profile struct {
	ID           graphql.ID
	Name, Role   string
	Organization *organization
}

type organization struct {
	ID            graphql.ID
	Name, Country string
	People        []*profile
}

func (a *altrata) Profile(args struct{ ID graphql.ID }) *profile {
	for _, p := range a.profiles {
		if p.ID == args.ID {
			return p
		}
	}
	return nil
}

func (a *altrata) Profiles(args struct {
	Search string
	First  int32
}) []*profile {
	found := []*profile{}
	text := strings.ToLower(args.Search)
	for _, p := range a.profiles {
		if int32(len(found)) < args.First && strings.Contains(strings.ToLower(p.Name+"\n"+p.Role), text) {
			found = append(found, p)
		}
	}
	return found
}

func (a *altrata) Organization(args struct{ ID graphql.ID }) *organization {
	for _, o := range a.organizations {
		if o.ID == args.ID {
			return o
		}
	}
	return nil
}
