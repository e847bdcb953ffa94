package link

import (
	"errors"
	"slices"
	"time"
)

// Why keepAlive closed a connection.
var (
	errSilent = errors.New("nothing heard for 45 s")
	errIdle   = errors.New("link: unused for 2 minutes beside more than 128 other links")
)

// keepAlive pings silent connections, closes dead ones and thins out unused ones
// until Run ends.
func (l *Link) keepAlive() {
	tick := time.NewTicker(pingAfter / 4)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case now := <-tick.C:
			for _, c := range l.reg.all() {
				l.checkIdle(c, now)
			}
			l.reap(now)
		}
	}
}

func (l *Link) checkIdle(c *conn, now time.Time) {
	switch {
	case c.deafFor(now) >= deadAfter:
		l.log.Info("link is silent, closing it", "peer", c.hello.ID, "channel", c.channel)
		c.closeWith(errSilent)
	case c.silentFor(now) >= pingAfter:
		l.spawn(func() { _ = c.ping() }) // a failed ping has closed the connection
	}
}

// reap closes packet links that nobody has used for a while, the longest unused
// first, until few enough are left. The next packet opens such a link again. Streams
// and calls end by themselves: one that waits is in use.
func (l *Link) reap(now time.Time) {
	links := l.reg.find(func(c *conn) bool { return c.up && c.channel == ChannelPacket })
	excess := len(links) - maxIdleLinks
	if excess <= 0 {
		return
	}
	links = slices.DeleteFunc(links, func(c *conn) bool { return c.unusedFor(now) < reapAfter })
	slices.SortFunc(links, func(a, b *conn) int { return int(b.unusedFor(now) - a.unusedFor(now)) })
	links = links[:min(excess, len(links))]
	if len(links) > 0 {
		l.log.Debug("closing unused links", "links", len(links), "open", excess+maxIdleLinks)
	}
	closeAll(links, closeNormal, errIdle)
}
