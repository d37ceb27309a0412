#!/usr/bin/env bash
# A Kafka broker (KRaft) on loopback, without Docker. Requires Java 17+ and Maven.
#
#   kafka.sh fetch     download the jars into kafka/libs (once)
#   kafka.sh start     start the broker in the background and wait until it accepts requests
#   kafka.sh run       run the broker in the foreground
#   kafka.sh stop      shut the broker down; its data are kept
#   kafka.sh topics    describe the topics
#   kafka.sh clean     delete the data of a stopped broker
#
# KAFKA_PORT (9092), KAFKA_CONTROLLER_PORT (KAFKA_PORT + 10001), KAFKA_DATA (kafka/data: logs, pid file, log file),
# KAFKA_HEAP ("-Xms256m -Xmx512m"), KAFKA_PROPERTIES (further lines of server.properties, which take precedence).
# Several brokers can run side by side, each with its own KAFKA_PORT and KAFKA_DATA.
set -eu

say() { printf 'kafka: %s\n' "$*"; }
die() { printf 'kafka: %s\n' "$*" >&2; exit 1; }

KIT=$(cd "$(dirname "$0")" && pwd)
PORT=${KAFKA_PORT:-9092}
case $PORT in '' | *[!0-9]*) die "KAFKA_PORT=$PORT is not a port: give a number from 1 to 65535" ;; esac
[ "$PORT" -ge 1 ] && [ "$PORT" -le 65535 ] || die "KAFKA_PORT=$PORT is not a port: give a number from 1 to 65535"
CONTROLLER_PORT=${KAFKA_CONTROLLER_PORT:-$((PORT <= 55534 ? PORT + 10001 : PORT - 10001))}
DATA=${KAFKA_DATA:-$KIT/data}
case $DATA in /*) ;; *) DATA=$PWD/$DATA ;; esac
HEAP=${KAFKA_HEAP:-"-Xms256m -Xmx512m"}
JAVA=${JAVA:-${JAVA_HOME:+$JAVA_HOME/bin/}java}
JVM="-server -XX:+UseSerialGC -XX:MaxDirectMemorySize=256m -Djava.awt.headless=true"
START_S=60
STOP_S=20

need_java() {
  command -v "$JAVA" >/dev/null 2>&1 || die "Java was not found: install Java 17 or newer (Debian: openjdk-17-jre-headless), or set JAVA_HOME"
  local version
  version=$("$JAVA" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${version:-0}" -ge 17 ] || die "Java 17 or newer is required, $JAVA is version ${version:-unknown}: install one, or set JAVA_HOME"
}

java_kafka() { # shellcheck disable=SC2086  (HEAP and JVM are lists of options)
  exec "$JAVA" $HEAP $JVM "-Dlog4j2.configurationFile=file:$KIT/log4j2.properties" -cp "$KIT/libs/*" "$@"
}

fetch() { # two starting at once: the second one waits and finds the work done
  mkdir -p "$KIT/libs"
  (
    ! command -v flock >/dev/null 2>&1 || flock 9
    cmp -s "$KIT/pom.xml" "$KIT/libs/.fetched" && exit 0
    command -v mvn >/dev/null 2>&1 || die "Maven, which downloads the jars of Kafka, was not found: install it (Debian: maven)"
    say "downloading the jars (once, about 55 MB)"
    rm -f "$KIT"/libs/*.jar
    mvn -q -B -f "$KIT/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DincludeScope=runtime "-DoutputDirectory=$KIT/libs" >&2 || die "Maven could not download the jars: see its output above"
    cp "$KIT/pom.xml" "$KIT/libs/.fetched"
  ) 9>"$KIT/libs/.lock"
}

running() { # prints the pid; a stale pid file, or another program that was given the number, does not count
  local pid
  pid=$(cat "$DATA/kafka.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
  ps -ww -o args= -p "$pid" 2>/dev/null | grep -qF "$DATA/server.properties" || return 1
  printf '%s' "$pid"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

prepare() { # everything that can go wrong before the JVM does
  need_java
  fetch
  ! listening "$PORT" || die "port $PORT is taken by another program: set KAFKA_PORT to a free one"
  ! listening "$CONTROLLER_PORT" || die "port $CONTROLLER_PORT is taken by another program: set KAFKA_CONTROLLER_PORT to a free one"
  mkdir -p "$DATA"
  local text
  text=$(cat "$KIT/server.properties.template")
  text=${text//@CONTROLLER_PORT@/$CONTROLLER_PORT}
  text=${text//@PORT@/$PORT}
  printf '%s\n' "${text//@DATA@/$DATA}" "${KAFKA_PROPERTIES:-}" >"$DATA/server.properties"
  [ ! -f "$DATA/logs/meta.properties" ] || return 0
  local id
  id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
  (java_kafka kafka.tools.StorageTool format -t "A${id#?}" -c "$DATA/server.properties") >"$DATA/kafka.log" 2>&1 ||
    { tail -n 20 "$DATA/kafka.log" >&2; die "the data directory $DATA could not be formatted"; }
}

start() {
  local pid
  if pid=$(running); then say "already running, pid $pid"; return; fi
  prepare
  [ ! -f "$DATA/kafka.log" ] || mv "$DATA/kafka.log" "$DATA/kafka.log.1"
  if command -v setsid >/dev/null 2>&1; then detach=setsid; else detach=nohup; fi  # a Ctrl-C here is not for the broker
  (java_kafka_in_background "$detach")
  pid=$(cat "$DATA/kafka.pid")
  for _ in $(seq $((START_S * 10))); do
    if grep -q 'Kafka Server started' "$DATA/kafka.log" 2>/dev/null; then say "up on 127.0.0.1:$PORT, pid $pid"; return; fi
    kill -0 "$pid" 2>/dev/null || { tail -n 20 "$DATA/kafka.log" >&2; rm -f "$DATA/kafka.pid"; die "the broker exited at once: see its log above"; }
    sleep 0.1
  done
  kill -KILL "$pid"; rm -f "$DATA/kafka.pid"
  die "the broker was not up after $START_S s: see $DATA/kafka.log"
}

java_kafka_in_background() { # the exec keeps the pid
  "$1" "$BASH" "$KIT/kafka.sh" _serve </dev/null >"$DATA/kafka.log" 2>&1 &
  echo $! >"$DATA/kafka.pid"
}

run() {
  local pid
  ! pid=$(running) || die "already running, pid $pid"
  prepare
  say "on 127.0.0.1:$PORT, Ctrl-C stops it"
  echo $$ >"$DATA/kafka.pid"
  java_kafka kafka.Kafka "$DATA/server.properties"
}

stop() {
  local pid
  pid=$(running) || { rm -f "$DATA/kafka.pid"; say "not running"; return; }
  kill -TERM "$pid"
  for _ in $(seq $((STOP_S * 10))); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$DATA/kafka.pid"; say "stopped"; return; }
    sleep 0.1
  done
  kill -KILL "$pid"; rm -f "$DATA/kafka.pid"
  say "did not stop within $STOP_S s: killed"
}

clean() { # only what this script made
  local pid
  ! pid=$(running) || die "running, pid $pid: stop it first"
  rm -rf "${DATA:?}/logs" "$DATA"/kafka.log "$DATA"/kafka.log.1 "$DATA"/kafka.pid "$DATA"/server.properties
  [ ! -d "$DATA" ] || rmdir "$DATA" 2>/dev/null || say "$DATA contains other files, which are kept"
}

case ${1:-} in
  fetch) fetch ;;
  start) start ;;
  run) run ;;
  _serve) java_kafka kafka.Kafka "$DATA/server.properties" ;;
  stop) stop ;;
  topics)
    need_java
    fetch
    listening "$PORT" || die "no broker is listening on 127.0.0.1:$PORT: start it with 'make kafka-start'"
    java_kafka org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$PORT" --describe ;;
  clean) clean ;;
  *) sed -n 's/^# \{0,1\}//; 2,/^[^ #]/{/^set -eu/!p}' "$0" | sed '/^$/N;/^\n$/d'; exit 2 ;;
esac
