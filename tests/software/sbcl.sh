# SBCL: a Lisp whose heap lies where it was saved, with a collector that protects pages, threads, deadlines, children, sockets; a core dumped and run.
#@ needs=sbcl
#@ timeout=120
cat > l.lisp <<'L'
(require :sb-bsd-sockets)
(defun show (x) (format t "~a~%" x))
(show (lisp-implementation-type))
(let ((kept (loop for i below 200000 collect (make-array (mod i 20) :initial-element i))))
  (sb-ext:gc :full t)
  (show (loop for a in kept sum (length a))))
(show (handler-case (labels ((f (n) (+ 1 (f n)))) (f 1)) (sb-kernel::control-stack-exhausted () "no stack")))
(show (handler-case (sb-sys:with-deadline (:seconds 0.05) (sleep 50)) (sb-sys:deadline-timeout () "deadline")))
(show (handler-case (sb-ext:with-timeout 0.05 (loop)) (sb-ext:timeout () "timeout")))
(show (loop for th in (loop for i below 8 collect (let ((i i)) (sb-thread:make-thread (lambda () (dotimes (k 200) (make-array 10000)) i)))) sum (sb-thread:join-thread th)))
(show (sb-ext:process-exit-code (sb-ext:run-program "/bin/sh" '("-c" "echo a child; exit 3") :output t)))
(let ((s (make-instance 'sb-bsd-sockets:inet-socket :type :stream :protocol :tcp)) (c (make-instance 'sb-bsd-sockets:inet-socket :type :stream :protocol :tcp)))
  (sb-bsd-sockets:socket-bind s #(127 0 0 1) 0)
  (sb-bsd-sockets:socket-listen s 5)
  (multiple-value-bind (address port) (sb-bsd-sockets:socket-name s) (sb-bsd-sockets:socket-connect c address port))
  (let ((a (sb-bsd-sockets:socket-make-stream (sb-bsd-sockets:socket-accept s) :output t)))
    (write-line "through a socket" a)
    (finish-output a))
  (show (read-line (sb-bsd-sockets:socket-make-stream c :input t))))
(show (handler-case (sb-sys:sap-ref-8 (sb-sys:int-sap 0) 0) (error () "memory fault")))
(sb-ext:save-lisp-and-die "core" :executable t :toplevel (lambda () (show "from the core") (sb-ext:exit :code 4)))
L
sbcl --noinform --non-interactive --no-userinit --no-sysinit --load l.lisp 2> err | grep -v '^\['; echo "sbcl ${PIPESTATUS[0]}"
./core; echo "core $?"
