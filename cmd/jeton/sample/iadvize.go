package sample

import (
	"context"
	_ "embed"
	"errors"
	"net/http"
	"sync"

	"github.com/graph-gophers/graphql-go"
)

//go:embed iadvize.graphql
var iadvizeSchema string

// IAdvize returns the API of an iAdvize realm: GraphQL at /graphql.
func IAdvize() http.Handler {
	shop := project{"1", "Outdoor shop", "en"}
	help := project{"2", "Help centre", "fr"}
	i := &iadvize{projects: []project{shop, help}, open: map[graphql.ID]bool{"11": true, "13": true}}
	i.visitors = []*visitor{
		{ID: "101", Name: "Ada"},
		{ID: "102", Name: "Grace", talks: []*talk{
			{i, "11", shop, []message{{"Grace", "Is the blue tent in stock?"}, {"Agent", "Yes, three of them."}}},
			{i, "12", help, []message{{"Grace", "My parcel is late."}, {"Bot", "It will arrive on Monday."}}},
		}},
		{ID: "103", Name: "Linus", talks: []*talk{{i, "13", shop, []message{{"Linus", "Hello?"}}}}},
	}
	return newGraph(iadvizeSchema, i, "/graphql")
}

type iadvize struct {
	projects []project
	visitors []*visitor // in the order of their ids

	mu   sync.Mutex          // guards open
	open map[graphql.ID]bool // :: id of a conversation -> it is open
}

type project struct {
	ID             graphql.ID
	Name, Language string
}

type visitor struct {
	ID    graphql.ID
	Name  string
	talks []*talk
}

type message struct{ Author, Text string }

// A talk is a conversation. It never changes but for its status.
type talk struct {
	home     *iadvize
	ID       graphql.ID
	Project  project
	Messages []message
}

type iadvizeCaller struct {
	ID    graphql.ID
	Scope string
}

func (*iadvize) Me(ctx context.Context) iadvizeCaller {
	c := callerFrom(ctx)
	return iadvizeCaller{graphql.ID(c.Subject), c.Scope}
}

func (i *iadvize) Projects() []project { return i.projects }

func (i *iadvize) Project(args struct{ ID graphql.ID }) *project {
	for _, p := range i.projects {
		if p.ID == args.ID {
			return &p
		}
	}
	return nil
}

func (i *iadvize) Visitors(args struct {
	First int32
	After *graphql.ID
}) []*visitor {
	found := []*visitor{}
	for _, v := range i.visitors {
		if int32(len(found)) < args.First && (args.After == nil || v.ID > *args.After) {
			found = append(found, v)
		}
	}
	return found
}

func (i *iadvize) Visitor(args struct{ ID graphql.ID }) *visitor {
	for _, v := range i.visitors {
		if v.ID == args.ID {
			return v
		}
	}
	return nil
}

func (v *visitor) Conversations() []*talk { return v.talks }

func (i *iadvize) Conversation(args struct{ ID graphql.ID }) *talk {
	for _, v := range i.visitors {
		for _, t := range v.talks {
			if t.ID == args.ID {
				return t
			}
		}
	}
	return nil
}

func (i *iadvize) ConversationClose(args struct{ ID graphql.ID }) (*talk, error) {
	t := i.Conversation(args)
	if t == nil {
		return nil, errors.New("there is no such conversation")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.open[t.ID] = false
	return t, nil
}

func (t *talk) Status() string {
	t.home.mu.Lock()
	defer t.home.mu.Unlock()
	if t.home.open[t.ID] {
		return "OPEN"
	}
	return "CLOSED"
}
