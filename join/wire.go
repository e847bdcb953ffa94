package join

import (
	"context"
	"net/http"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// Meeting is one connection with whoever answered at an endpoint.
type Meeting interface {
	Peer() link.Hello
	RoundTrip(*http.Request) (*http.Response, error)
	Close()
}

// Meet dials an endpoint. An empty target accepts whoever answers.
type Meet func(ctx context.Context, endpoint string, target muster.NodeID) (Meeting, error)

// MeetOver is the Meet of a link.
func MeetOver(l *link.Link) Meet {
	return func(ctx context.Context, endpoint string, target muster.NodeID) (Meeting, error) {
		m, err := l.Meet(ctx, endpoint, target)
		if err != nil {
			return nil, err
		}
		return linkMeeting{m}, nil
	}
}

type linkMeeting struct{ *link.Meeting }

// Peer returns who answered.
func (m linkMeeting) Peer() link.Hello { return m.Hello }
