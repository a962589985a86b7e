from p5t5.cli.recommend import main

raise SystemExit(main())
