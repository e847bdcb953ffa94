package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/client"
)

func (c *fakeCluster) Changes(_ context.Context, after int64, _ time.Duration) ([]muster.Change, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.afters = append(c.afters, after)
	next := c.follow[0]
	c.follow = c.follow[1:]
	return next()
}

func (c *fakeCluster) Revisions(_ context.Context, p client.Past) (api.RevisionList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := api.RevisionList{Revisions: []muster.Change{}, Rev: c.rev, CompactedRev: c.gone}
	for _, change := range slices.Backward(c.log) {
		fits := (p.Kind == "" || p.Kind == change.Kind) && (p.Name == "" || p.Name == change.Name) && (p.Before == 0 || change.Rev < p.Before)
		if !fits || change.Rev <= c.gone {
			continue
		}
		if len(list.Revisions) == p.Limit {
			list.Next = list.Revisions[p.Limit-1].Rev
			break
		}
		change.Spec = nil
		list.Revisions = append(list.Revisions, change)
	}
	return list, nil
}

func (c *fakeCluster) Diff(_ context.Context, s client.Span) (api.DocumentDiff, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Kind == "" {
		s.Kind, s.Name = c.log[s.From-1].Kind, c.log[s.From-1].Name
	}
	if max(s.From, s.To) > c.rev {
		return api.DocumentDiff{}, muster.Errorf(muster.CodeNotFound, "there is no revision %d: this node serves revision %d", max(s.From, s.To), c.rev)
	}
	d := api.DocumentDiff{Kind: s.Kind, Name: s.Name, From: c.at(s, s.From), To: c.at(s, s.To)}
	if s.To == 0 {
		d.From, d.To = c.at(s, s.From-1), d.From
	}
	d.Equal = d.From.Exists == d.To.Exists && bytes.Equal(d.From.Spec, d.To.Spec)
	return d, nil
}

func (c *fakeCluster) at(s client.Span, rev int64) api.DocumentAt {
	state := api.DocumentAt{At: rev}
	for _, change := range c.log[:rev] {
		if change.Kind == s.Kind && change.Name == s.Name {
			state = api.DocumentAt{
				At: rev, Exists: change.Op == muster.OpPut, Spec: change.Spec, Rev: change.Rev, UpdatedBy: change.Actor, Reason: change.Reason,
			}
		}
	}
	return state
}

func (c *fakeCluster) Rollback(ctx context.Context, r client.Rollback) (api.ConfigOutcome, error) {
	then := c.at(client.Span{Kind: r.Kind, Name: r.Name}, r.To)
	reason := cmp.Or(r.Reason, fmt.Sprintf("rollback to revision %d", r.To))
	return c.Apply(ctx, client.Batch{Reason: reason, DryRun: r.DryRun, Items: []client.Item{{Kind: r.Kind, Name: r.Name, Spec: then.Spec, Expect: r.Expect}}})
}

func (c *fakeCluster) Apply(ctx context.Context, b client.Batch) (api.ConfigOutcome, error) {
	c.batches = append(c.batches, b)
	out := api.ConfigOutcome{DryRun: b.DryRun, Rev: c.rev}
	for _, item := range b.Items {
		w := client.Write{Kind: item.Kind, Name: item.Name, Spec: item.Spec, Expect: item.Expect, Reason: b.Reason}
		if err := c.admit(w); err != nil {
			return out, err
		}
	}
	for _, item := range b.Items {
		w := client.Write{Kind: item.Kind, Name: item.Name, Spec: item.Spec, Expect: item.Expect, Reason: b.Reason}
		now, exists := c.docs[w.Kind+"/"+w.Name]
		result := api.ConfigResult{Kind: w.Kind, Name: w.Name, Outcome: "changed", Rev: now.Rev}
		switch {
		case w.Spec == nil:
			result.Outcome = "deleted"
		case !exists:
			result.Outcome = "created"
		}
		if !b.DryRun {
			if w.Spec == nil {
				result.Rev, _ = c.ConfigDelete(ctx, w)
			} else {
				doc, _ := c.ConfigPut(ctx, w)
				result.Rev = doc.Rev
			}
		}
		out.Items, out.Rev = append(out.Items, result), c.rev
	}
	return out, nil
}
