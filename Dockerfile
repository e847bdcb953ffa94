# A static binary on an empty base, run by a numeric non-root user.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/muster ./cmd/muster \
 && mkdir -m 0700 /out/data /out/secrets

FROM scratch
COPY --from=build /out/muster /muster
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/secrets /secrets
USER 65532:65532
VOLUME /data
EXPOSE 9113
ENTRYPOINT ["/muster"]
CMD ["serve", "--data-dir", "/data", "--mgmt-bind", "0.0.0.0:9113"]
